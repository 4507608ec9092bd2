"""Reads container logs (:class:`sharedrt.model.drivers.LogReader`)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import run_blocking
from sharedrt.aio.priority import thread_pool
from sharedrt.drivers.logs.files import LogFiles
from sharedrt.drivers.logs.inotify import Inotify
from sharedrt.model.drivers import LogLine, LogQuery
from sharedrt.model.faults import Internal, NotFound

_LOOK_AGAIN_S: Final = 0.5
"""Nobody tells when a container has ended, nor when a folder comes; all else comes by inotify."""
_LONGEST_LOOK_S: Final = 4.0
_JUST_WRITTEN_S: Final = 0.02
_QUIET_LOOKS: Final = 5


class FileLogReader:
    """Implements LogReader. Close it with :meth:`aclose`, when nothing is read any more.

    A log that does not exist has no lines; following waits for it. An unfinished last line is given
    when its newline has come.
    """

    def __init__(self) -> None:
        self._threads = thread_pool(4, "logs")
        self._inotify = Inotify()

    async def read(
        self, path: Path, query: LogQuery, *, ended: Callable[[], bool]
    ) -> AsyncIterator[Sequence[LogLine]]:
        files = LogFiles(path, query)
        try:
            # Watch first: what is written from now on wakes us, even while we read what was there.
            with self._watch(path.parent, query.follow) as (wake, watched):
                with _faults(path):
                    await run_blocking(self._threads, files.open)
                quiet = 0
                while True:
                    news = wake.is_set() or quiet <= _QUIET_LOOKS or not watched
                    wake.clear()
                    over = not query.follow or ended() or 0 < query.until_ns < time.time_ns()
                    quiet += 1
                    # Hundreds may follow logs that stand still: without news they cost no thread's time.
                    while news or over:
                        with _faults(path):
                            lines = await run_blocking(self._threads, files.read)
                        if lines is None:
                            break
                        quiet = 0
                        if lines:
                            yield lines
                    if over or files.finished:
                        return
                    # conmon's last write comes a moment before its container is known to have ended.
                    delay_s = _look_again_s(quiet)
                    if query.until_ns > 0:
                        delay_s = min(delay_s, max(query.until_ns - time.time_ns(), 0) / 1e9 + 1e-3)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(delay_s):
                            await wake.wait()
                            quiet = 0
        finally:
            await run_blocking(self._threads, files.close)

    async def aclose(self) -> None:
        self._inotify.close()
        self._threads.shutdown()

    @contextlib.contextmanager
    def _watch(self, folder: Path, follow: bool) -> Iterator[tuple[asyncio.Event, bool]]:
        """An event, and whether the folder is there to set it."""
        with contextlib.ExitStack() as stack:
            event, watched = asyncio.Event(), False
            if follow:
                with contextlib.suppress(NotFound):
                    event, watched = stack.enter_context(self._inotify.watch(folder)), True
            yield event, watched


def _look_again_s(quiet: int) -> float:
    """The longer nothing has come, the less often; the end of a container is news, since conmon closes its log."""
    if quiet < _QUIET_LOOKS:
        return _JUST_WRITTEN_S
    return min(_LOOK_AGAIN_S * 2.0 ** min(quiet - _QUIET_LOOKS, 8), _LONGEST_LOOK_S)


@contextlib.contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Internal(f"log {path}", error.strerror or str(error)) from error
