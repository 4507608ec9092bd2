"""conmon's control fifo: the terminal's size and log rotation."""

import asyncio
import os
from pathlib import Path
from typing import Final

from sharedrt.model.faults import FailedPrecondition
from sharedrt.wire.conmon import resize_line

_GAP_S: Final = 0.005


def send_line(folder: Path, line: bytes) -> None:
    """One line to the conmon of that folder.

    Raises:
        FailedPrecondition: no conmon listens: the process has ended.
    """
    try:
        fd = os.open(folder / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)
    except OSError as e:
        raise FailedPrecondition("container", folder.name, "is not running") from e


class Resizer:
    """Sizes of one terminal, a little apart and only the newest.

    conmon hands a size on to itself through a second fifo; two in one of its turns, and it applies the older.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = asyncio.Lock()
        self._newest = 0

    async def resize(self, width: int, height: int) -> None:
        """Raises FailedPrecondition when the process has ended."""
        self._newest += 1
        mine = self._newest
        async with self._lock:
            if mine != self._newest:
                return  # a newer size waits behind us
            send_line(self._folder, resize_line(width, height))
            await asyncio.sleep(_GAP_S)
