"""A volume's folder (:class:`sharedrt.model.drivers.VolumeFolders`).

Layout below a namespace's folder, which is root's alone::

    NAME/_data         what containers see; options are mounted on it
    NAME/.copy.new     content of an image on its way in, not complete
    NAME/.copy         complete: its entries are being moved into _data
    NAME/.copy.for     into which of its folders, when it is not _data itself
    .gone-HEX          on its way out

Where options are mounted on ``_data``, these three of the copy are inside, since moving needs one file system.
"""

import asyncio
import errno
import os
import secrets
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from sharedrt.aio.completion import run_blocking
from sharedrt.aio.priority import thread_pool
from sharedrt.drivers import inroot, libc, mountapi, trees
from sharedrt.drivers.volumes.mounting import mount_volume
from sharedrt.model.drivers import Usage
from sharedrt.model.faults import Internal, ResourceExhausted, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

DATA: Final = "_data"
_STAGING: Final = ".copy.new"
_STAGED: Final = ".copy"
_STAGED_FOR: Final = ".copy.for"
_GONE: Final = ".gone-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_THREADS: Final = 16
_BUSY_DELAYS_S: Final = (0.05, 0.2)


class LocalVolumeFolders:
    """Implements VolumeFolders, on threads of its own: a server that does not answer holds a thread, and those that
    all else needs must not run out."""

    def __init__(self) -> None:
        self._threads = thread_pool(_THREADS, "volumes")

    def data(self, folder: Path) -> Path:
        return folder / DATA

    async def make(self, folder: Path) -> None:
        await self._run(folder, _make, folder)

    async def mount(self, folder: Path, options: Mapping[str, str]) -> None:
        await self._run(folder, _mount, folder, dict(options))

    async def unmount(self, folder: Path) -> None:
        await self._run(folder, _unmount, folder)

    async def remove(self, folder: Path) -> None:
        for delay_s in (*_BUSY_DELAYS_S, None):
            try:
                going = await run_blocking(self._threads, _take_away, folder)
                if going is not None:
                    await run_blocking(self._threads, trees.remove, str(going))
                return
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or delay_s is None:
                    raise _fault(folder, error) from error
                await asyncio.sleep(delay_s)

    async def names(self, root: Path) -> Sequence[str]:
        return await self._run(root, _names, root)

    async def usage(self, folder: Path) -> Usage:
        for _ in range(3):
            try:
                found = await self._run(folder, trees.usage, str(folder / DATA))
            except trees.TreeChanged:
                continue
            return Usage(found.size_bytes, found.inodes, found.content_bytes)
        raise Unavailable("volume usage", f"folders of {folder.name!r} move while counted")

    async def wants_copy(self, folder: Path, rootfs: Path, target: str, sub_path: str = "") -> bool:
        return await self._run(folder, _wants_copy, folder, rootfs, target, sub_path)

    async def staging(self, folder: Path) -> Path:
        return await self._run(folder, _new_staging, folder)

    async def finish_copy(self, folder: Path, sub_path: str = "") -> None:
        await self._run(folder, _finish_copy, folder, sub_path)

    async def _run(
        self, folder: Path, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            return await run_blocking(self._threads, function, *args, **kwargs)
        except OSError as error:
            raise _fault(folder, error) from error


def _fault(folder: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted("disk", f"no space left for volume {folder.name}")
    return Internal(f"volume {folder.name}", error.strerror or str(error))


def _make(folder: Path) -> None:
    root = folder.parent
    root.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    root.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o711, exist_ok=True)
    (folder / DATA).mkdir(mode=0o755, exist_ok=True)


def _mount(folder: Path, options: dict[str, str]) -> None:
    _make(folder)
    target = str(folder / DATA)
    if options.get("device") and not os.path.ismount(target):
        mount_volume(folder.name, target, options)


def _unmount(folder: Path) -> None:
    """Until nothing is mounted there. What somebody still uses goes out of sight, and with its last user."""
    target = str(folder / DATA)
    while True:
        try:
            libc.umount(target, libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return
            raise


def _take_away(folder: Path) -> Path | None:
    """Out of its place at once, so that a new volume of this name is not the old one."""
    _unmount(folder)
    going = (
        folder
        if folder.name.startswith(_GONE)
        else folder.parent / f"{_GONE}{secrets.token_hex(8)}"
    )
    try:
        os.rename(folder, going)
    except FileNotFoundError:
        return None
    return going


def _names(root: Path) -> list[str]:
    try:
        return sorted(os.listdir(root))
    except FileNotFoundError:
        return []


# ---------------------------------------------------------------- content of an image


def _wants_copy(folder: Path, rootfs: Path, target: str, sub_path: str) -> bool:
    """Whether the volume is empty and the image has a folder at ``target``; its owner and mode are taken over
    at once, and True means that there is more to be copied."""
    if (_copy_base(folder) / _STAGED).is_dir():
        _finish_copy(folder, "")  # a daemon was killed while it moved entries in
    data = _open_data(folder, sub_path)
    if data is None:
        return False
    try:
        if set(os.listdir(data)) - {_STAGING, _STAGED, _STAGED_FOR, "lost+found"}:
            return False
        source = _open_source(rootfs, target)
        if source is None:
            return False
        try:
            info = os.fstat(source)
            if os.listdir(source):
                return True
            os.fchown(data, info.st_uid, info.st_gid)
            os.fchmod(data, stat.S_IMODE(info.st_mode))
            return False
        finally:
            os.close(source)
    finally:
        os.close(data)


def _open_data(folder: Path, sub_path: str) -> int | None:
    """The data folder, or the one at ``sub_path`` in it; ``None`` when that is no folder inside."""
    if not sub_path:
        return os.open(folder / DATA, _FOLDER)
    root = inroot.open_folder(folder / DATA)
    try:
        return inroot.open_within(root, sub_path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            return None
        raise
    finally:
        os.close(root)


def _open_source(rootfs: Path, target: str) -> int | None:
    root = inroot.open_folder(rootfs)
    try:
        return inroot.open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            return None
        raise
    finally:
        os.close(root)


def _copy_base(folder: Path) -> Path:
    data = folder / DATA
    return data if os.path.ismount(data) else folder


def _new_staging(folder: Path) -> Path:
    staging = _copy_base(folder) / _STAGING
    trees.remove(str(staging))
    staging.mkdir(mode=0o700)
    return staging


def _finish_copy(folder: Path, sub_path: str) -> None:
    """Move staged entries into the data folder. What a container has made there meanwhile stays as it is."""
    base = _copy_base(folder)
    staged, note = base / _STAGED, base / _STAGED_FOR
    if not staged.is_dir():
        if sub_path:
            note.write_text(sub_path)
        else:
            note.unlink(missing_ok=True)
        mountapi.syncfs(str(base / _STAGING))
        os.rename(base / _STAGING, staged)
    # What the note says counts: after a crash nobody knows what it was for.
    data = _open_data(folder, note.read_text() if note.exists() else "")
    try:
        if data is not None:
            _move_in(staged, data)
    finally:
        if data is not None:
            os.close(data)
    trees.remove(str(staged))
    note.unlink(missing_ok=True)


def _move_in(staged: Path, data: int) -> None:
    info = os.stat(staged)
    present = set(os.listdir(data))
    for name in sorted(set(os.listdir(staged)) - present):
        os.rename(staged / name, name, dst_dir_fd=data)
    os.fchown(data, info.st_uid, info.st_gid)
    os.fchmod(data, stat.S_IMODE(info.st_mode))
    os.utime(data, ns=(info.st_atime_ns, info.st_mtime_ns))
