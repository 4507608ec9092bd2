"""Task owners: work ends with its owner, and finishes when it must."""

import asyncio

import pytest

from sharedrt.aio.tasks import TaskOwner


async def test_finish_goes_on_when_the_caller_is_cancelled() -> None:
    owner = TaskOwner("test")
    release, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await release.wait()
        done.set()

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(owner.finish(work(), "work"))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
        assert caller.cancelled() or caller.cancelling()
    release.set()
    await asyncio.wait_for(done.wait(), 60)
    await owner.aclose()


async def test_finish_passes_result_and_error() -> None:
    owner = TaskOwner("test")

    async def good() -> int:
        return 7

    async def bad() -> None:
        raise ValueError("no")

    assert await owner.finish(good(), "good") == 7
    with pytest.raises(ValueError, match="no"):
        await owner.finish(bad(), "bad")
    await owner.aclose()


async def test_close_ends_what_runs_and_refuses_more() -> None:
    owner = TaskOwner("test")
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    owner.spawn(endless(), "endless")
    await asyncio.sleep(0)
    await owner.aclose()
    assert ended.is_set()
    with pytest.raises(RuntimeError):
        owner.spawn(endless(), "late")


async def test_a_failed_task_takes_no_other_along() -> None:
    owner = TaskOwner("test")
    other_done = asyncio.Event()

    async def failing() -> None:
        raise OSError("broken")

    async def other() -> None:
        await asyncio.sleep(0.01)
        other_done.set()

    owner.spawn(failing(), "failing")
    owner.spawn(other(), "other")
    await asyncio.wait_for(other_done.wait(), 60)
    await owner.aclose()
