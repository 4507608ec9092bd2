"""Who waits for containers to end or to be removed."""

import asyncio
from dataclasses import dataclass, field

from sharedrt.model.ids import ContainerId
from sharedrt.model.records import ContainerRecord

Futures = list["asyncio.Future[ContainerRecord]"]


@dataclass(slots=True)
class _Waiters:
    next_exit: Futures = field(default_factory=list)
    removed: Futures = field(default_factory=list)


class ExitWaiters:
    """Of one namespace's containers. One who is cancelled leaves nothing here."""

    def __init__(self) -> None:
        self._waiters: dict[ContainerId, _Waiters] = {}

    async def next_exit(self, id: ContainerId) -> ContainerRecord:
        """Its record at its next end, or at its removal."""
        return await _wait(self._waiters.setdefault(id, _Waiters()).next_exit)

    async def removal(self, id: ContainerId) -> ContainerRecord:
        """Its last record."""
        return await _wait(self._waiters.setdefault(id, _Waiters()).removed)

    def tell_exit(self, record: ContainerRecord) -> None:
        if (waiters := self._waiters.get(record.id)) is not None:
            _tell(waiters.next_exit, record)

    def tell_removal(self, record: ContainerRecord) -> None:
        """Whoever waits for an end need not wait longer, either."""
        if (waiters := self._waiters.pop(record.id, None)) is not None:
            _tell(waiters.next_exit, record)
            _tell(waiters.removed, record)


def _tell(futures: Futures, record: ContainerRecord) -> None:
    for future in futures:
        if not future.done():
            future.set_result(record)
    futures.clear()


async def _wait(futures: Futures) -> ContainerRecord:
    future: asyncio.Future[ContainerRecord] = asyncio.get_running_loop().create_future()
    futures.append(future)
    try:
        return await future
    finally:
        if future in futures:
            futures.remove(future)
