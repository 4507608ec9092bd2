import asyncio
import os
import threading
import time

import pytest

from sharedrt.drivers.network.worker import NetworkWorker
from sharedrt.model.faults import Internal

pytestmark = pytest.mark.real


async def test_a_cancelled_caller_waits_for_the_work_under_way() -> None:
    worker = NetworkWorker()
    begun, done = threading.Event(), []

    def work() -> None:
        begun.set()
        time.sleep(0.1)
        done.append(1)

    loop = asyncio.get_running_loop()
    running, queued = loop.create_task(worker.run(work)), loop.create_task(worker.run(work))
    await asyncio.to_thread(begun.wait)
    queued.cancel()
    running.cancel()
    for task in (running, queued):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert done == [1], "the one under way was waited for, the other never began"
    await worker.aclose()
    await worker.aclose()


async def test_errors_become_faults() -> None:
    worker = NetworkWorker()
    with pytest.raises(Internal, match="/nowhere"):
        await worker.run(os.stat, "/nowhere")
    await worker.aclose()
