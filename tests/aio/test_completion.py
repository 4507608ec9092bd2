"""A cancelled caller waits for work that cannot be stopped."""

import asyncio
import threading

import pytest

from sharedrt.aio.completion import complete, obtain, run_blocking


async def test_results_and_errors_pass() -> None:
    assert await run_blocking(None, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await run_blocking(None, divmod, 1, 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await run_blocking(None, next, iter(()))


async def test_cancellation_comes_after_the_thread() -> None:
    gate, ended = threading.Event(), False

    def work() -> None:
        nonlocal ended
        gate.wait()
        ended = True

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run_blocking(None, work))
        for _ in range(2):
            await asyncio.sleep(0.01)
            task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        gate.set()
        await asyncio.wait((task,))
        assert task.cancelled()
    assert ended


async def test_what_a_cancelled_caller_never_sees_is_given_back() -> None:
    gate = threading.Event()
    given_back: list[str] = []

    def make() -> str:
        gate.wait()
        return "descriptor"

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(obtain(None, given_back.append, make))
        await asyncio.sleep(0.01)
        task.cancel()
        gate.set()
        await asyncio.wait((task,))
        assert task.cancelled()
    assert given_back == ["descriptor"]
    assert await obtain(None, given_back.append, make) == "descriptor"
    assert given_back == ["descriptor"]
    with pytest.raises(ZeroDivisionError):
        await obtain(None, given_back.append, lambda: str(1 // 0))


async def test_a_failure_is_not_lost_to_a_cancellation() -> None:
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()
        raise OSError("disk")

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_expect_disk_error(work()))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0.01)
        gate.set()


async def _expect_disk_error(work: "asyncio.Future[None] | object") -> None:
    with pytest.raises(OSError, match="disk"):
        await complete(work)  # type: ignore[arg-type]
