"""Sizes of writable layers: measured by walking them, so not for every call anew."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from sharedrt.aio.locks import KeyedLocks
from sharedrt.model.drivers import Usage
from sharedrt.model.ids import ContainerId

FRESH_S: Final = 10.0
"""How old a figure may be; containerd's own period."""
_WALKS_AT_ONCE: Final = 4


class LayerUsage:
    """Sizes by container, each walked at most once in ``FRESH_S``."""

    def __init__(self, measure: Callable[[ContainerId], Awaitable[Usage]]) -> None:
        self._measure = measure
        self._known: dict[ContainerId, tuple[float, int, Usage]] = {}
        self._locks = KeyedLocks()
        self._walks = asyncio.Semaphore(_WALKS_AT_ONCE)

    async def of(self, id: ContainerId) -> tuple[int, Usage]:
        """(when it was measured in Unix nanoseconds, size). Raises NotFound."""
        async with self._locks.hold(id):
            known = self._known.get(id)
            if known is None or time.monotonic() - known[0] > FRESH_S:
                async with self._walks:
                    usage = await self._measure(id)
                known = self._known[id] = (time.monotonic(), time.time_ns(), usage)
            return known[1], known[2]

    def retain(self, ids: Collection[str]) -> None:
        """Forget all others."""
        if len(self._known) > len(ids):
            self._known = {id: known for id, known in self._known.items() if id in ids}
