"""Keeping the logs of running containers within their bounds, where one file is not all that is to be kept.

conmon itself begins a log of one file anew. Nobody tells when a file has grown (inotify would, at every write), so
the sizes are looked at now and then: a log may grow a little beyond its size, and none is cut short.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskHandle, TaskOwner
from sharedrt.model.drivers import LogBounds, LogRotator
from sharedrt.model.faults import Fault
from sharedrt.model.ids import ContainerId
from sharedrt.model.records import ContainerRecord

log = structlog.get_logger(__name__)

_LOOK_S: Final = 0.5
_LOOK_AGAIN_S: Final = 0.05
"""After a rotation: who writes fast will soon have filled the next file."""
_SLACK_BYTES: Final = 16 << 20


def bounds_of(record: ContainerRecord) -> LogBounds | None:
    """``None``: conmon alone can do it, or there is no bound."""
    if not record.log_path or not record.log_max_bytes or record.log_max_files < 2:
        return None
    return LogBounds(
        Path(record.log_path), record.log_max_bytes, record.log_max_files, record.log_compress
    )


def writer_bound(record: ContainerRecord) -> int:
    """What conmon may write before it begins anew, the old lines being lost; 0: no bound.

    Where we rotate, that is a last resort: so much is written only while no daemon runs.
    """
    if bounds_of(record) is None:
        return record.log_max_bytes
    return record.log_max_bytes * record.log_max_files + _SLACK_BYTES


class LogRotations:
    """One namespace's. A task runs as long as there is a log to look at."""

    def __init__(
        self,
        rotator: LogRotator,
        reopen: Callable[[ContainerId], Awaitable[None]],
        owner: TaskOwner,
    ) -> None:
        self._rotator = rotator
        self._reopen = reopen
        self._owner = owner
        self._locks = KeyedLocks()
        self._logs: dict[ContainerId, LogBounds] = {}
        self._task: TaskHandle | None = None

    def begin(self, record: ContainerRecord) -> None:
        """Its log is written to from now on."""
        if (bounds := bounds_of(record)) is None:
            return
        self._logs[record.id] = bounds
        if self._task is None:
            self._task = self._owner.spawn(self._run(), "log rotation")

    async def end(self, id: ContainerId) -> None:
        """It is not any more: what it has written since the last look is brought within its bounds."""
        bounds = self._logs.pop(id, None)
        if bounds is not None:
            await self._rotate(id, bounds, _nobody_writes)

    async def _run(self) -> None:
        delay_s = _LOOK_S
        try:
            while self._logs:
                await asyncio.sleep(delay_s)
                due = set(await self._rotator.due(list(self._logs.values())))
                delay_s = _LOOK_AGAIN_S if due else _LOOK_S
                for id, bounds in list(self._logs.items()):
                    if bounds in due:
                        await self._rotate(id, bounds, partial(self._reopen, id))
        finally:
            self._task = None

    async def _rotate(
        self, id: ContainerId, bounds: LogBounds, reopen: Callable[[], Awaitable[None]]
    ) -> None:
        try:
            async with self._locks.hold(id):  # its end may come while it is rotated
                if await self._rotator.due([bounds]):
                    await self._rotator.rotate(bounds, reopen)
        except Fault as fault:
            log.warning("cannot rotate a log", container=id, error=str(fault))


async def _nobody_writes() -> None:
    """conmon has ended, or is about to: it would be asked in vain."""
