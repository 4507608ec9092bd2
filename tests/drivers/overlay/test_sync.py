"""Waiting calls share a sync, and none returns before one that began after it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sharedrt.drivers.overlay.sync import GroupSync


async def test_calls_share() -> None:
    gate = threading.Semaphore(0)
    count = 0

    def sync() -> None:
        nonlocal count
        gate.acquire()
        count += 1

    with ThreadPoolExecutor(1) as executor:
        group = GroupSync(executor, sync)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(group())
            await asyncio.sleep(0.01)
            later = [tasks.create_task(group()) for _ in range(10)]
            await asyncio.sleep(0.01)
            gate.release()
            await first
            assert not any(task.done() for task in later)
            gate.release()
        assert count == 2


async def test_a_failure_is_not_shared() -> None:
    results = iter((OSError("disk"), None))

    def sync() -> None:
        if (error := next(results)) is not None:
            raise error

    with ThreadPoolExecutor(1) as executor:
        group = GroupSync(executor, sync)
        first, second = await asyncio.gather(group(), group(), return_exceptions=True)
        assert isinstance(first, OSError)
        assert second is None
        with pytest.raises(RuntimeError):  # a third sync was asked for: StopIteration
            await group()
