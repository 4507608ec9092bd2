"""Entering and leaving Linux namespaces, which Python 3.11 does not offer. Blocking; per thread."""

import ctypes
import os
from typing import Final

CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWNET: Final = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces (unshare(2)); it must not be used for anything else."""
    if _libc.unshare(flags) != 0:
        raise _error("unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that ``fd`` refers to (setns(2))."""
    if _libc.setns(fd, kind) != 0:
        raise _error("setns")


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), call)
