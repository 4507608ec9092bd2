"""Small files, folders and plain mounts of ours (:class:`sharedrt.model.drivers.HostFiles`)."""

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from sharedrt.aio.completion import run_blocking
from sharedrt.drivers import inroot, libc
from sharedrt.drivers.selinux import relabel
from sharedrt.model.faults import Internal, InvalidArgument, NotFound, ResourceExhausted

P = ParamSpec("P")
T = TypeVar("T")

_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


class HostFs:
    """Implements HostFiles on the host's file system, each call on a thread."""

    async def write(self, folder: Path, files: Mapping[str, bytes], *, mode: int = 0o644) -> None:
        await _run(_write, folder, files, mode)

    async def read(self, path: Path, *, limit_bytes: int | None = None) -> bytes:
        return await _run(_read, path, limit_bytes)

    async def make_folder(
        self, path: Path, *, mode: int = 0o755, owner: tuple[int, int] | None = None
    ) -> None:
        await _run(_make_folder, path, mode, owner)

    async def remove_tree(self, path: Path) -> None:
        await _run(_remove_tree, path)

    async def names(self, folder: Path) -> Sequence[str]:
        return await _run(_names, folder)

    async def mount_tmpfs(self, path: Path, *, size_bytes: int, mode: int = 0o1777) -> None:
        await _run(_mount_tmpfs, path, size_bytes, mode)

    async def bind(self, source: Path, target: Path, *, readonly: bool = False) -> None:
        await _run(_bind, source, target, readonly)

    async def bind_in_root(
        self, root: Path, path: str, target: Path, *, beneath: bool = False
    ) -> None:
        await _run(_bind_in_root, root, path, target, beneath)

    async def unmount(self, path: Path) -> None:
        await _run(_unmount, path)

    async def relabel(self, path: Path, label: str, *, shared: bool) -> None:
        await _run(relabel, path, label, shared=shared)

    async def exists(self, path: Path) -> bool:
        return await _run(os.path.lexists, path)

    async def is_socket(self, path: Path) -> bool:
        return await _run(_is_socket, path)

    async def rename(self, source: Path, target: Path) -> None:
        await _run(os.replace, source, target)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


async def _run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        # To the end even when cancelled: an undo must not run beside a mount that is still being made.
        return await run_blocking(None, function, *args, **kwargs)
    except OSError as error:
        where = str(error.filename or args[0])
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted("disk", f"no space left for {where}") from error
        raise Internal(where, error.strerror or str(error)) from error


def _write(folder: Path, files: Mapping[str, bytes], mode: int) -> None:
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    for name, data in files.items():
        target = folder / name
        if target.exists():
            # In place: a bind mount into a container holds the inode, a renamed one it would not see.
            target.write_bytes(data)
            continue
        temporary = folder / f".{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
        os.rename(temporary, target)


def _read(path: Path, limit_bytes: int | None) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(-1 if limit_bytes is None else limit_bytes + 1)
    except FileNotFoundError:
        return b""
    if limit_bytes is not None and len(data) > limit_bytes:
        raise ResourceExhausted(str(path), f"longer than {limit_bytes} bytes")
    return data


def _make_folder(path: Path, mode: int, owner: tuple[int, int] | None) -> None:
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _mounts_below(path: Path) -> list[str]:
    """Mount points at or below ``path``, the deepest first."""
    root = os.fsencode(_real(path))
    found = []
    # Bytes: a mount point of somebody else's need not be valid UTF-8.
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            point = _OCTAL.sub(lambda m: bytes((int(m[1], 8),)), line.split(b" ")[4])
            if point == root or point.startswith(root + b"/"):
                found.append(os.fsdecode(point))
    return found[::-1]


def _real(path: Path) -> str:
    """Without links above it; ``path`` itself may be one, and is not followed."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _remove_tree(path: Path) -> None:
    for point in _mounts_below(path):
        _detach(point)
    while True:
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        except FileNotFoundError:
            if not os.path.lexists(path):
                return
            # Somebody else removes something in it at the same time: again.


def _mount_tmpfs(path: Path, size_bytes: int, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(path):
        return
    flags = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    libc.mount("shm", str(path), "tmpfs", flags, f"size={size_bytes},mode={mode:o}")


def _bind(source: Path, target: Path, readonly: bool) -> None:
    if not target.exists():
        if source.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    if _mounts_below(target):
        return
    libc.mount(str(source), str(target), "none", libc.MS_BIND)
    if readonly:
        flags = libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY
        libc.mount("none", str(target), "none", flags)


def _bind_in_root(root: Path, path: str, target: Path, beneath: bool) -> None:
    if _mounts_below(target):
        return
    root_descriptor = inroot.open_folder(root)
    try:
        opened = inroot.open_within if beneath else inroot.open_in_root
        source = opened(root_descriptor, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise NotFound("path", path) from error
        if beneath and error.errno == errno.EXDEV:
            raise InvalidArgument("path", path, "a link on it leads outside") from error
        raise
    finally:
        os.close(root_descriptor)
    try:
        if stat.S_ISDIR(os.fstat(source).st_mode):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        # By descriptor: nobody can put a link there between the look and the mount.
        flags = libc.MS_BIND | libc.MS_REC
        libc.mount(f"/proc/self/fd/{source}", str(target), "none", flags)
    finally:
        os.close(source)


def _unmount(path: Path) -> None:
    for point in _mounts_below(path):
        if point == _real(path):
            _detach(point)


def _detach(point: str) -> None:
    try:
        libc.umount(point, libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
