"""Rotating container logs (:class:`sharedrt.model.drivers.LogRotator`).

``path`` becomes ``path.1``, that one ``path.2`` and so on, up to the number of files that are to be kept. conmon
is told to open ``path`` anew in between: until it has, it writes to what is ``path.1`` now, so that nothing is
lost and a rotation that a crash cut off is finished by the next one. Who writes fast has filled more than one file
before we look: ``path.1`` is then split into as many as it should have been.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from sharedrt.aio.completion import run_blocking
from sharedrt.aio.priority import thread_pool
from sharedrt.drivers.logs.compressed import PACKED, PART, compress
from sharedrt.model.drivers import LogBounds
from sharedrt.model.faults import FailedPrecondition, Internal, NotFound

_CHUNK: Final = 1 << 20
_SPARE_BYTES: Final = 16 << 10
"""Who is so little beyond the size is left whole: conmon writes as much at a time."""


class FileLogRotator:
    """Implements LogRotator. Close it with :meth:`aclose`."""

    def __init__(self) -> None:
        self._threads = thread_pool(2, "log-rotation")

    async def due(self, logs: Sequence[LogBounds]) -> Sequence[LogBounds]:
        return await run_blocking(self._threads, lambda: [log for log in logs if _is_due(log)])

    async def rotate(self, log: LogBounds, reopen: Callable[[], Awaitable[None]]) -> None:
        await self._run(_shift, log)
        with suppress(NotFound, FailedPrecondition):  # it has ended: nobody writes any more
            await reopen()
        await self._run(_split, log)
        if log.compress:
            await self._run(_compress_all, log)

    async def _run(self, work: Callable[[LogBounds], None], log: LogBounds) -> None:
        try:
            await run_blocking(self._threads, work, log)
        except OSError as error:
            raise Internal(f"log {log.path}", error.strerror or str(error)) from error

    async def aclose(self) -> None:
        self._threads.shutdown()


def _is_due(log: LogBounds) -> bool:
    """Beyond its size; or renamed away by a rotation that did not come to its end. One that cannot be looked at is,
    too: its rotation will say why."""
    try:
        return log.path.stat().st_size >= log.max_bytes
    except FileNotFoundError:
        return _numbered(log.path, 1).exists()
    except OSError:
        return True


def _numbered(path: Path, number: int, packed: str = "") -> Path:
    return path.with_name(f"{path.name}.{number}{packed}")


def _shift(log: LogBounds) -> None:
    """Number all files one higher, the oldest going. A gap, which a cut-off one has left, is filled by it."""
    if not log.path.exists():
        return
    gap = next(
        (n for n in range(1, log.max_files) if not any(p.exists() for p in _forms(log.path, n))),
        log.max_files - 1,
    )
    for path in _forms(log.path, gap):
        path.unlink(missing_ok=True)
    _numbered(log.path, gap, PART).unlink(missing_ok=True)
    for number in range(gap - 1, 0, -1):
        for packed in ("", PACKED):
            if (path := _numbered(log.path, number, packed)).exists():
                path.rename(_numbered(log.path, number + 1, packed))
    log.path.rename(_numbered(log.path, 1))


def _split(log: LogBounds) -> None:
    """Make files of the right size out of ``path.1``; its beginning goes when there are too many. Interrupted, it may
    leave lines twice, but none is lost that is to be kept."""
    whole = _numbered(log.path, 1)
    try:
        info = whole.stat()
    except FileNotFoundError:
        return
    if info.st_size <= log.max_bytes + _SPARE_BYTES:
        return
    most = log.max_files - 1
    pieces = [_numbered(log.path, number, PART) for number in range(1, most + 1)]
    with whole.open("rb") as file:
        bounds = _piece_bounds(file, info.st_size, log.max_bytes, most)
        for piece, (begin, end) in zip(pieces, bounds, strict=False):
            _copy_range(file, begin, end, piece)
            os.utime(piece, ns=(info.st_atime_ns, info.st_mtime_ns))
    count = len(bounds)
    for number in range(most, 1, -1):
        for packed in ("", PACKED):
            if (path := _numbered(log.path, number, packed)).exists():
                above = number + count - 1
                if above > most:
                    path.unlink()
                else:
                    path.rename(_numbered(log.path, above, packed))
    for number in range(count, 0, -1):
        pieces[number - 1].rename(_numbered(log.path, number))


def _piece_bounds(file: BinaryIO, size: int, piece: int, most: int) -> list[tuple[int, int]]:
    """(begin, end) of whole lines of about ``piece`` bytes each, the last lines first."""
    found: list[tuple[int, int]] = []
    end = size
    while end > 0 and len(found) < most:
        begin = max(0, end - piece)
        if begin:
            file.seek(begin - 1)
            begin += len(file.readline()) - 1  # to the begin of the next line
            if begin >= end:
                begin = max(0, end - piece)  # one line longer than a file
        found.append((begin, end))
        end = begin
    return found


def _copy_range(file: BinaryIO, begin: int, end: int, target: Path) -> None:
    file.seek(begin)
    with target.open("wb") as copy:
        while begin < end and (data := file.read(min(_CHUNK, end - begin))):
            copy.write(data)
            begin += len(data)


def _forms(path: Path, number: int) -> tuple[Path, Path]:
    return _numbered(path, number), _numbered(path, number, PACKED)


def _compress_all(log: LogBounds) -> None:
    for number in range(1, log.max_files):
        if (path := _numbered(log.path, number)).exists():
            compress(path)
