"""The mount API of file descriptors (fsopen(2) and company), through ctypes. Blocking: call on threads.

The numbers are the same on every 64-bit architecture of Linux but alpha; pivot_root(2) is older, and has another on
x86-64 than on those that came later.
"""

import contextlib
import ctypes
import os
from types import TracebackType
from typing import Final

from sharedrt.drivers import libc

_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_MOUNT_SETATTR: Final = 442

_CLOEXEC: Final = 1  # of fsopen and fsmount
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_OPEN_TREE_CLONE: Final = 1
_MOUNT_ATTR_RDONLY: Final = 0x1
_MOUNT_ATTR_IDMAP: Final = 0x100000
_AT_RECURSIVE: Final = 0x8000
_CLONE_NEWNS: Final = 0x00020000
_PIVOT_ROOT: Final = 155 if os.uname().machine == "x86_64" else 41
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_MS_PRIVATE: Final = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class FileSystem:
    """A file system in the making: options, then :meth:`mount`. A context manager.

    All methods raise OSError, with the kernel's own words where it has any.
    """

    def __init__(self, kind: str) -> None:
        self._fd = _call(_FSOPEN, kind.encode(), _CLOEXEC)

    def __enter__(self) -> "FileSystem":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def option(self, key: str, value: str) -> None:
        """One option; values of 256 bytes and more are refused by the kernel."""
        self._config(_FSCONFIG_SET_STRING, key.encode(), os.fsencode(value))

    def mount(self, target: str, *, readonly: bool = False) -> None:
        """Make the file system and put it at ``target``."""
        self._config(_FSCONFIG_CMD_CREATE, None, None)
        attributes = _MOUNT_ATTR_RDONLY if readonly else 0
        mount = _call(_FSMOUNT, self._fd, _CLOEXEC, attributes)
        try:
            attach(mount, target)
        finally:
            os.close(mount)

    def _config(self, command: int, key: bytes | None, value: bytes | None) -> None:
        try:
            _call(_FSCONFIG, self._fd, command, key, value, 0)
        except OSError as error:
            words = self._words()
            raise OSError(error.errno, words or os.strerror(error.errno or 0)) from error

    def _words(self) -> str:
        """What the kernel's log of this file system says of the failure."""
        lines = []
        with contextlib.suppress(OSError):  # ENODATA: nothing more
            while line := os.read(self._fd, 4096):
                lines.append(line.decode(errors="replace").removeprefix("e ").strip())
        return "; ".join(lines)


def clone_tree(path: str, *, recursive: bool = False) -> int:
    """A detached copy of the mount at a path (and of those below): a descriptor. Raises OSError."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def make_readonly(mount: int) -> None:
    """Of a detached mount, with those below. Raises OSError."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    _call(_MOUNT_SETATTR, mount, b"", flags, ctypes.byref(attributes), size)


def enter_alone(folder: int) -> None:
    """Move this single-threaded process to a mount namespace whose root is the mount at an open folder, and where
    nothing else is. Raises OSError."""
    os.fchdir(folder)
    # The working directory goes along to the new namespace; descriptors would stay in the old one.
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise _error()
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
    _call(_PIVOT_ROOT, b".", b".")  # the old root is then stacked on the new one
    libc.umount(".", libc.MNT_DETACH)
    os.chdir("/")


def idmap(mount: int, user_namespace: int) -> None:
    """Map the owners of a detached mount's files by a user namespace's mapping; make it private.

    Raises OSError (EINVAL: the file system cannot).
    """
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_IDMAP, 0, _MS_PRIVATE, user_namespace)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _call(_MOUNT_SETATTR, mount, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)


def attach(mount: int, target: str) -> None:
    """Put a detached mount at a path. Raises OSError."""
    path = os.fsencode(target)
    _call(_MOVE_MOUNT, mount, b"", _AT_FDCWD, path, _MOVE_MOUNT_F_EMPTY_PATH)


def syncfs(path: str) -> None:
    """Write all of the path's file system to disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(descriptor) != 0:
            raise _error()
    finally:
        os.close(descriptor)


def _call(number: int, *args: object) -> int:
    # An int would go as 32 bits, and syscall(2) reads whole registers.
    wide = (ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args)
    result: int = _libc.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        raise _error()
    return result


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
