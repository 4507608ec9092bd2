"""Knowing when conmon has opened its log file anew."""

import asyncio
import os
import time
from typing import Final

from sharedrt.model.faults import DeadlineExceeded

_PATIENCE_S: Final = 5.0


def inode_of(path: str) -> int:
    """0 when there is no file."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


async def wait_for_new_file(path: str, old_inode: int) -> None:
    """Until another file than the old one is at ``path``: conmon renames the new one into place.

    Raises:
        DeadlineExceeded: after 5 s.
    """
    deadline = time.monotonic() + _PATIENCE_S
    pause = 0.0005
    while inode_of(path) in (0, old_inode):
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"reopening {path}", _PATIENCE_S)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.05)
