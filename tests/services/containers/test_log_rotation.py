"""Which logs are looked at, when, and what conmon may write meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import LogBounds
from sharedrt.model.faults import Internal
from sharedrt.model.ids import ContainerId
from sharedrt.services.containers import log_rotation
from sharedrt.services.containers.log_rotation import LogRotations, bounds_of, writer_bound
from tests.services.rig import ID, container


class Rotator:
    """All logs are due, until it is told otherwise."""

    def __init__(self) -> None:
        self.asked = 0
        self.rotated: list[LogBounds] = []
        self.broken = False

    async def due(self, logs: Sequence[LogBounds]) -> Sequence[LogBounds]:
        self.asked += 1
        return list(logs)

    async def rotate(self, log: LogBounds, reopen: Callable[[], Awaitable[None]]) -> None:
        if self.broken:
            raise Internal("log", "cannot be moved")
        await reopen()
        self.rotated.append(log)


def kept(**fields: Any) -> dict[str, Any]:
    return {"log_max_bytes": 1000, "log_max_files": 3, **fields}


def test_only_what_conmon_cannot_do_is_ours() -> None:
    assert bounds_of(container()) is None
    assert bounds_of(container(log_max_bytes=5)) is None
    assert bounds_of(container(log_max_files=5)) is None
    assert bounds_of(container(**kept(log_path=""))) is None
    bounds = bounds_of(container(**kept(log_compress=True)))
    assert bounds is not None
    assert (bounds.max_bytes, bounds.max_files, bounds.compress) == (1000, 3, True)
    assert writer_bound(container(log_max_bytes=5)) == 5
    assert writer_bound(container()) == 0
    assert writer_bound(container(**kept())) > 3000


async def test_logs_are_looked_at_as_long_as_somebody_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_rotation, "_LOOK_S", 0.001)
    monkeypatch.setattr(log_rotation, "_LOOK_AGAIN_S", 0.001)
    rotator, owner, reopened = Rotator(), TaskOwner("test"), list[ContainerId]()

    async def reopen(id: ContainerId) -> None:
        reopened.append(id)

    rotations = LogRotations(rotator, reopen, owner)
    rotations.begin(container())
    assert not owner._tasks
    rotations.begin(container(**kept()))
    async with asyncio.timeout(60):
        while len(rotator.rotated) < 2:  # noqa: ASYNC110 - another task's doing
            await asyncio.sleep(0.001)
    assert reopened[0] == ID
    rotator.broken = True
    with capture_logs() as logged:
        asked = rotator.asked
        async with asyncio.timeout(60):
            while rotator.asked < asked + 3:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert logged[0]["event"] == "cannot rotate a log"
    rotator.broken = False
    count = len(rotator.rotated)
    asked_to_reopen = len(reopened)
    await rotations.end(ID)
    assert len(reopened) == asked_to_reopen, "nobody writes any more"
    assert len(rotator.rotated) == count + 1, "what was written last is brought within bounds"
    await rotations.end(ID)
    assert len(rotator.rotated) == count + 1
    async with asyncio.timeout(60):
        while owner._tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    rotations.begin(container(**kept()))
    assert owner._tasks, "a new task for a new log"
    await owner.aclose()
