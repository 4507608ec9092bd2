"""Shared work: one run for equal calls, ended with its last caller."""

import asyncio

import pytest

from sharedrt.aio.tasks import TaskOwner
from sharedrt.services.images.joined import Joined, Listener


class Work:
    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.runs = 0
        self.undone = 0

    async def __call__(self, key: str, tell: Listener[tuple[str, int]]) -> str:
        self.runs += 1
        tell(("a", 1))
        tell(("a", 2))
        tell(("b", 1))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.undone += 1
            raise
        if key == "bad":
            raise KeyError(key)
        return f"done {key}"


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def joined(work: Work) -> Joined[str, str, tuple[str, int]]:
    return Joined(TaskOwner("test"), work, lambda progress: progress[0])


Shared = Joined[str, str, tuple[str, int]]


async def test_one_run_for_all(work: Work, joined: Shared) -> None:
    early: list[tuple[str, int]] = []
    late: list[tuple[str, int]] = []
    async with asyncio.TaskGroup() as group:
        first = group.create_task(joined.run("x", early.append))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = group.create_task(joined.run("x", late.append))
        other = group.create_task(joined.run("y"))
        await asyncio.sleep(0)
        work.go.set()
    assert (first.result(), second.result(), other.result()) == ("done x", "done x", "done y")
    assert work.runs == 2
    assert early == [("a", 1), ("a", 2), ("b", 1)]
    assert late == [("a", 2), ("b", 1)]
    assert await joined.run("x") == "done x"
    assert work.runs == 3


async def test_a_failure_is_everyones(work: Work, joined: Shared) -> None:
    work.go.set()
    results = await asyncio.gather(joined.run("bad"), joined.run("bad"), return_exceptions=True)
    assert [type(result) for result in results] == [KeyError, KeyError]


async def test_it_ends_with_the_last_caller(work: Work, joined: Shared) -> None:
    loop = asyncio.get_running_loop()
    calls = [loop.create_task(joined.run("x")) for _ in range(2)]
    await asyncio.sleep(0.01)
    calls[0].cancel()
    await asyncio.sleep(0.01)
    assert work.undone == 0
    calls[1].cancel()
    await asyncio.sleep(0.01)
    assert work.undone == 1
    # A new caller does not join what is being undone.
    work.go.set()
    assert await joined.run("x") == "done x"
    await asyncio.gather(*calls, return_exceptions=True)


async def test_closing_its_owner_ends_the_callers(work: Work) -> None:
    owner = TaskOwner("test")
    joined: Shared = Joined(owner, work, lambda progress: progress[0])
    call = asyncio.get_running_loop().create_task(joined.run("x"))
    await asyncio.sleep(0.01)
    await owner.aclose()
    with pytest.raises(asyncio.CancelledError):
        await call
