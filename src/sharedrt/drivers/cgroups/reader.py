"""Reads small kernel files fast: plain descriptors, no buffering, no text layer."""

import os
from pathlib import Path
from typing import Final

_CHUNK: Final = 1 << 16


def read_text(path: str | Path) -> str:
    """A cgroup or procfs file whole; empty when it is not there or is not readable now.

    A missing file is usual: a controller that is off, a kernel without the file, a cgroup that has just gone.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        data = os.read(fd, _CHUNK)
        if len(data) == _CHUNK:
            while more := os.read(fd, _CHUNK):
                data += more
    except OSError:
        return ""  # ENODEV or EOPNOTSUPP: the file is there, its figures are not
    finally:
        os.close(fd)
    return data.decode("ascii", "replace")


def write_text(path: Path, text: str) -> None:
    """Write one setting, in one write. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
