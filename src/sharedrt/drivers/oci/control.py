"""conmon's control fifo: the terminal's size and log rotation."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sharedrt.model.faults import FailedPrecondition
from sharedrt.wire.conmon import resize_line

_GAP_S: Final = 0.005
_AGAIN_S: Final = (0.05, 0.2, 1.0, 3.0)


def send_line(folder: Path, line: bytes) -> None:
    """One line to the conmon of that folder.

    Raises:
        FailedPrecondition: no conmon listens: the process has ended.
    """
    try:
        fd = _open(folder)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)
    except OSError as e:
        raise FailedPrecondition("container", folder.name, "is not running") from e


def _open(folder: Path) -> int:
    return os.open(folder / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


class Resizer:
    """Sizes of one terminal, a little apart and only the newest, which is then told again a few times.

    conmon hands a size on to itself through a second fifo; two in one of its turns, and it applies the older. On a busy
    host a turn of it may be long in coming. To be told a size that it has is nothing to a terminal.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = asyncio.Lock()
        self._newest = 0
        self._fd = -1
        self._timer: asyncio.TimerHandle | None = None

    async def resize(self, width: int, height: int) -> None:
        """Raises FailedPrecondition when the process has ended."""
        self._newest += 1
        mine = self._newest
        async with self._lock:
            if mine != self._newest:
                return  # a newer size waits behind us
            self.close()
            try:
                self._fd = _open(self._folder)
                self._tell(resize_line(width, height), _AGAIN_S)
            except OSError as e:
                self.close()
                raise FailedPrecondition("container", self._folder.name, "is not running") from e
            await asyncio.sleep(_GAP_S)

    def _tell(self, line: bytes, again_s: Sequence[float]) -> None:
        os.write(self._fd, line)
        if again_s:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(again_s[0], self._tell_again, line, again_s[1:])
        else:
            self.close()

    def _tell_again(self, line: bytes, again_s: Sequence[float]) -> None:
        """By the same descriptor: a process of the same name that was started meanwhile has another fifo."""
        try:
            self._tell(line, again_s)
        except OSError:  # its process has ended
            self.close()

    def close(self) -> None:
        """Tell it no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
