"""Restart policies: whether, and after how long, a container that ended starts again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sharedrt.aio.tasks import TaskHandle, TaskOwner
from sharedrt.model.ids import ContainerId
from sharedrt.model.records import ContainerRecord

FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 60.0
_RESET_AFTER_S: Final = 10.0
_AT_ONCE: Final = 8
"""Starts by policy that run at the same time: after a reboot there may be hundreds due."""


def wants_restart(record: ContainerRecord) -> bool:
    """Whether the policy answers this end with a start."""
    if record.stopped_by_client or record.sandbox_id is not None:
        return False
    match record.restart_policy:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            allowed = record.restart_max_retries
            return record.exit_code != 0 and (not allowed or record.restart_count < allowed)
        case _:
            return False


def wants_start_with_daemon(record: ContainerRecord) -> bool:
    """Whether a container that was found ended shall run: after a reboot, or when its restart was due as the
    daemon stopped. ``always`` means even one that a client had stopped, as with Docker."""
    if record.started_ns == 0 or record.sandbox_id is not None:
        return False
    return record.restart_policy == "always" or wants_restart(record)


class Restarts:
    """Restarts that are due. None runs before :meth:`open`: recovery comes first."""

    def __init__(self, owner: TaskOwner, restart: Callable[[ContainerId], Awaitable[None]]) -> None:
        self._owner = owner
        self._restart = restart
        self._due: dict[ContainerId, TaskHandle] = {}
        self._announced: set[ContainerId] = set()
        self._delay_s: dict[ContainerId, float] = {}
        self._opened = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def open(self) -> None:
        """From now on restarts may run."""
        self._opened.set()

    def announce(self, id: ContainerId) -> None:
        """It is about to end, and will be started again when all is cleaned up: until then, too, it is due."""
        self._announced.add(id)

    def schedule_after(self, record: ContainerRecord) -> None:
        """Answer an end that was announced, unless :meth:`cancel` came since: the delay doubles with each, until a run
        has lasted for 10 s."""
        if record.id not in self._announced:
            return
        if record.finished_ns - record.started_ns >= _RESET_AFTER_S * 1e9:
            self._delay_s.pop(record.id, None)
        delay_s = self._delay_s.get(record.id, FIRST_DELAY_S)
        self._delay_s[record.id] = min(delay_s * 2, LONGEST_DELAY_S)
        self.schedule(record.id, delay_s)

    def schedule(self, id: ContainerId, delay_s: float) -> None:
        """Start again after a while, unless :meth:`cancel` comes before."""
        self.cancel(id)
        self._due[id] = self._owner.spawn(self._run(id, delay_s), f"restart {id[:12]}")

    async def _run(self, id: ContainerId, delay_s: float) -> None:
        await self._opened.wait()
        await asyncio.sleep(delay_s)
        async with self._slots:
            await self._restart(id)

    def due(self, id: ContainerId) -> bool:
        """Whether one is waiting or under way (Docker's state ``restarting``)."""
        return id in self._due or id in self._announced

    def done(self, id: ContainerId) -> None:
        """The restart that was under way has come to its end."""
        self._due.pop(id, None)

    def cancel(self, id: ContainerId) -> bool:
        """Whether there was one. Not to be called by the restart itself."""
        announced = id in self._announced
        self._announced.discard(id)
        if (task := self._due.pop(id, None)) is None:
            return announced
        task.cancel()
        return True

    def begin_anew(self, id: ContainerId) -> None:
        """A client starts it, or it is gone: none is due, and the next waits as long as a first one."""
        self.cancel(id)
        self._delay_s.pop(id, None)
