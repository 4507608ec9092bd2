"""Opening paths inside a folder that anybody may have filled: the kernel resolves links there, and stays inside.

Blocking: call on threads. openat2(2), through ctypes.
"""

import ctypes
import os
from typing import Final

_SYS_OPENAT2: Final = 437
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE_IN_ROOT: Final = 0x10
_EAGAIN_TRIES: Final = 64
_EAGAIN: Final = 11

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_folder(path: str | os.PathLike[str]) -> int:
    """A folder of ours as the root of what follows. Raises OSError."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_in_root(root: int, path: str | bytes, flags: int = os.O_PATH) -> int:
    """Open a path with its links resolved as if the folder ``root`` were ``/``. Raises OSError."""
    return _openat2(root, path, flags, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)


def open_within(root: int, path: str | bytes, flags: int = os.O_PATH) -> int:
    """Open a path below ``root``; links on it are followed as long as they stay there. Raises OSError (EXDEV: one does
    not)."""
    return _openat2(root, path, flags, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)


def open_beneath(root: int, path: str | bytes, flags: int = os.O_PATH | os.O_NOFOLLOW) -> int:
    """Open a path below ``root`` on which no link may lie. Raises OSError (ELOOP: a link does)."""
    return _openat2(root, path, flags, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)


def _openat2(root: int, path: str | bytes, flags: int, resolve: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    size = ctypes.sizeof(how)
    for _ in range(_EAGAIN_TRIES):
        descriptor: int = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_long(root),
            os.fsencode(path),
            ctypes.byref(how),
            ctypes.c_size_t(size),
        )
        if descriptor >= 0:
            return descriptor
        if ctypes.get_errno() != _EAGAIN:  # that: somebody renamed a folder meanwhile
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), path)
