"""Wakes those who wait for something to happen in a folder: inotify(7), one descriptor for all."""

import asyncio
import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sharedrt.model.faults import NotFound, ResourceExhausted, Unavailable

_IN_MODIFY: Final = 0x2
_IN_CLOSE_WRITE: Final = 0x8
_IN_MOVED_FROM: Final = 0x40
_IN_MOVED_TO: Final = 0x80
_IN_CREATE: Final = 0x100
_IN_DELETE: Final = 0x200
_IN_IGNORED: Final = 0x8000
_IN_ONLYDIR: Final = 0x01000000
_MASK: Final = (
    _IN_MODIFY
    | _IN_CLOSE_WRITE
    | _IN_MOVED_FROM
    | _IN_MOVED_TO
    | _IN_CREATE
    | _IN_DELETE
    | _IN_ONLYDIR
)
_HEADER: Final = struct.Struct("iIII")
_BUFFER: Final = 64 << 10

_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Watches folders; opened with the first watch, on the running loop. Close it with :meth:`close`."""

    def __init__(self) -> None:
        self._fd = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[int, set[asyncio.Event]] = {}
        """By watch; of one folder there is one watch, however many wait."""

    @contextlib.contextmanager
    def watch(self, folder: Path) -> Iterator[asyncio.Event]:
        """An event that is set whenever a file in the folder is written to, closed after writing,
        made, renamed or removed; the waiter clears it.

        Raises:
            NotFound: no such folder. ResourceExhausted: the kernel's limit of watches is reached.
        """
        self._open()
        watch = _libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
        if watch < 0:
            number = ctypes.get_errno()
            if number in (errno.ENOENT, errno.ENOTDIR):
                raise NotFound("folder", str(folder))
            if number == errno.ENOSPC:
                raise ResourceExhausted("inotify watches", "raise fs.inotify.max_user_watches")
            raise Unavailable(f"inotify on {folder}", os.strerror(number))
        event = asyncio.Event()
        self._waiting.setdefault(watch, set()).add(event)
        try:
            yield event
        finally:
            waiting = self._waiting.get(watch)
            if waiting is not None:
                waiting.discard(event)
                if not waiting:
                    del self._waiting[watch]
                    _libc.inotify_rm_watch(self._fd, watch)

    def close(self) -> None:
        if self._fd >= 0:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._waiting.clear()

    def _open(self) -> None:
        if self._fd >= 0:
            return
        descriptor = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if descriptor < 0:
            raise ResourceExhausted("inotify instances", "raise fs.inotify.max_user_instances")
        self._fd = descriptor
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._wake)

    def _wake(self) -> None:
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size + length
            if watch < 0:  # the queue overflowed: anything may have happened
                for waiting in self._waiting.values():
                    _set(waiting)
            elif watch in self._waiting:
                _set(self._waiting[watch])
                if mask & _IN_IGNORED:  # the folder is gone, and the kernel's watch with it
                    del self._waiting[watch]


def _set(events: set[asyncio.Event]) -> None:
    for event in events:
        event.set()
