"""The thread on which all blocking network work happens, and its way into other network namespaces."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from sharedrt.aio.priority import thread_pool
from sharedrt.drivers.linuxns import CLONE_NEWNET, setns
from sharedrt.model.faults import Internal

P = ParamSpec("P")
T = TypeVar("T")


class NetworkWorker:
    """One thread: the kernel's rtnl lock lets no two change links at once anyway.

    Args:
        netns: the network namespace that is "the host" for all work here; ``None``: the daemon's own.
    """

    def __init__(self, netns: Path | None = None) -> None:
        self._pool = thread_pool(1, "network")
        self._home = os.open(netns or "/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function there; calls queue. OSErrors become Internal faults.

        When the caller is cancelled, it still waits for the function's end (milliseconds), so that what
        it does next, undoing for one, cannot overtake it.
        """
        work = self._pool.submit(self._at_home, lambda: function(*args, **kwargs))
        future = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not work.cancel():
                await asyncio.wait([future])
                if not future.cancelled():
                    future.exception()  # retrieved: the cancellation is what the caller hears of
            raise
        except OSError as error:
            raise Internal("network", _words(error)) from error

    async def aclose(self) -> None:
        """Finish what was asked for and end the thread. Idempotent."""
        if self._home < 0:
            return
        await self.run(lambda: None)  # the queue is worked off
        self._pool.shutdown()
        os.close(self._home)
        self._home = -1

    def _at_home(self, function: Callable[[], T]) -> T:
        # Cheap (1 µs), and a thread that could not find its way back does no harm in a wrong place.
        setns(self._home, CLONE_NEWNET)
        return function()

    @contextmanager
    def inside(self, netns_fd: int) -> Iterator[None]:
        """On the worker's thread: be in another network namespace for a while.

        A socket opened there stays there; ``/proc/sys/net`` is that namespace's.
        """
        setns(netns_fd, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(self._home, CLONE_NEWNET)


def _words(error: OSError) -> str:
    words = error.strerror or str(error)
    return f"{error.filename}: {words}" if error.filename else words
