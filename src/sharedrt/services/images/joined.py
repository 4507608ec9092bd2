"""Equal calls at the same time are one piece of work, which ends when nobody waits for it any more."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from sharedrt.aio.tasks import TaskHandle, TaskOwner

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
P = TypeVar("P")

Listener = Callable[[P], None]


class _Work(Generic[R, P]):
    def __init__(self) -> None:
        self.listeners: list[Listener[P]] = []
        self.told: dict[Hashable, P] = {}
        self.waiting = 0
        self.outcome: asyncio.Future[R | Exception] = asyncio.get_running_loop().create_future()
        self.task: TaskHandle | None = None


class Joined(Generic[K, R, P]):
    """Work by key. Progress goes to all who wait; who joins late gets the latest of each subject first."""

    def __init__(
        self,
        owner: TaskOwner,
        work: Callable[[K, Listener[P]], Awaitable[R]],
        subject: Callable[[P], Hashable],
    ) -> None:
        self._owner, self._work, self._subject = owner, work, subject
        self._running: dict[K, _Work[R, P]] = {}

    async def run(self, key: K, listener: Listener[P] | None = None) -> R:
        """Start the work, or join it. Its failure is every caller's."""
        work = self._running.get(key)
        if work is None:
            work = self._running[key] = _Work()
            work.task = self._owner.spawn(self._do(key, work), "shared work")
        work.waiting += 1
        if listener is not None:
            for progress in work.told.values():
                listener(progress)
            work.listeners.append(listener)
        try:
            outcome = await asyncio.shield(work.outcome)
        except asyncio.CancelledError:
            if work.waiting == 1 and work.task is not None and not work.outcome.done():
                # From now on a new caller starts anew instead of joining what is being undone.
                self._forget(key, work)
                work.task.cancel()
            raise
        finally:
            work.waiting -= 1
            if listener is not None:
                work.listeners.remove(listener)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _do(self, key: K, work: _Work[R, P]) -> None:
        def tell(progress: P) -> None:
            work.told[self._subject(progress)] = progress
            for listener in tuple(work.listeners):
                listener(progress)

        try:
            outcome: R | Exception = await self._work(key, tell)
        except asyncio.CancelledError:
            work.outcome.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed to the callers, who raise it
            outcome = error
        finally:
            self._forget(key, work)
        work.outcome.set_result(outcome)

    def _forget(self, key: K, work: _Work[R, P]) -> None:
        if self._running.get(key) is work:
            del self._running[key]
