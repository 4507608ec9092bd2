"""syncfs for many at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from sharedrt.aio.completion import run_blocking


class GroupSync:
    """Calls that wait at the same time share one sync, so long as it begins after they were made."""

    def __init__(self, executor: Executor, sync: Callable[[], None]) -> None:
        self._executor = executor
        self._sync = sync
        self._lock = asyncio.Lock()
        self._begun = self._done = 0

    async def __call__(self) -> None:
        """Return when all that was written before the call is on disk. Raises what ``sync`` raises."""
        before = self._begun
        async with self._lock:
            if self._done > before:
                return
            self._begun += 1
            number = self._begun
            await run_blocking(self._executor, self._sync)
            self._done = number
