"""Snapshots on overlayfs (:class:`sharedrt.model.drivers.Snapshotter`).

Layout of the root folder::

    layers/DIRECTORY/fs                     a committed layer; complete since the rename that put it here
    active/DIRECTORY/{fs,work,rootfs}       a writable snapshot; rootfs is the mount point
    empty                                   the layer of an image without layers
    tmp/                                    in the making or going; cleared at start-up
"""

import asyncio
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import complete, run_blocking
from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.priority import thread_pool
from sharedrt.aio.tasks import TaskOwner
from sharedrt.drivers import libc, mountapi, trees
from sharedrt.drivers.overlay import mounter
from sharedrt.drivers.overlay.changes import upper_changes
from sharedrt.drivers.overlay.sync import GroupSync
from sharedrt.drivers.overlay.userns import Mappings, host_id, open_user_namespace
from sharedrt.model.drivers import PathChange, Usage
from sharedrt.model.faults import (
    FailedPrecondition,
    Fault,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

_BUSY_DELAYS_S: Final = (0.02, 0.05, 0.1)


class OverlaySnapshotter:
    """Implements Snapshotter. :meth:`start` before the first call, :meth:`aclose` after the last.

    Args:
        root: folder of all snapshots, on a file system that overlayfs takes as its upper.
    """

    def __init__(self, root: Path) -> None:
        self._layers = root / "layers"
        self._active = root / "active"
        self._empty = root / "empty"
        self._tmp = root / "tmp"
        self._locks = KeyedLocks()
        # Nobody must wait for the removal of others' big trees, nor mounts for figures of them.
        self._mount_threads = thread_pool(4, "snapshot-mount")
        self._tree_threads = thread_pool(2, "snapshot-tree")
        self._removal_threads = thread_pool(2, "snapshot-removal")
        self._sync = GroupSync(self._tree_threads, lambda: mountapi.syncfs(str(self._tmp)))
        self._removals = TaskOwner("snapshotter")

    async def start(self) -> None:
        """Make the folders and clear what an earlier life left half done (in the background)."""
        with _faults("snapshots"):
            for left in await run_blocking(self._mount_threads, self._make_folders):
                self._removals.spawn(self._remove_tree(left), f"remove {left.name}")

    async def aclose(self) -> None:
        """Mounts stay: containers live on."""
        await self._removals.aclose()
        for threads in (self._mount_threads, self._tree_threads, self._removal_threads):
            threads.shutdown()

    # ------------------------------------------------------------ layers

    def layer_path(self, directory: str) -> Path:
        return self._layers / _checked(directory) / "fs"

    def upper_path(self, directory: str) -> Path:
        return self._active / _checked(directory) / "fs"

    async def has_layer(self, directory: str) -> bool:
        return await run_blocking(self._mount_threads, self.layer_path(directory).is_dir)

    @contextlib.asynccontextmanager
    async def prepare_layer(
        self, directory: str
    ) -> AsyncIterator[tuple[Path, Callable[[], Awaitable[None]]]]:
        target = self.layer_path(directory).parent
        async with self._locks.hold(("layer", directory)):
            folder = self._tmp / f"layer-{secrets.token_hex(8)}"
            moved = False

            async def commit() -> None:
                nonlocal moved
                with _faults(directory):
                    await self._sync()
                    moved = await run_blocking(self._tree_threads, _put_layer, folder, target)

            try:
                with _faults(directory):
                    await run_blocking(self._mount_threads, _make_layer_folder, folder)
                yield folder / "fs", commit
            finally:
                if not moved:
                    await complete(self._remove_tree(folder))

    async def remove_layer(self, directory: str) -> None:
        async with self._locks.hold(("layer", directory)):
            await self._take_away(self.layer_path(directory).parent)

    async def layers_on_disk(self) -> Sequence[str]:
        return await run_blocking(self._mount_threads, _names, self._layers)

    async def actives_on_disk(self) -> Sequence[str]:
        return await run_blocking(self._mount_threads, _names, self._active)

    # ------------------------------------------------------------ active snapshots

    async def mount(
        self,
        directory: str,
        layers: Sequence[str],
        *,
        readonly: bool = False,
        uid_mappings: Sequence[tuple[int, int, int]] = (),
        gid_mappings: Sequence[tuple[int, int, int]] = (),
        selinux_label: str = "",
    ) -> Path:
        folder = self.upper_path(directory).parent
        lowers = [self.layer_path(layer) for layer in layers] or [self._empty]
        if len(lowers) >= mounter.MAX_LAYERS:
            raise InvalidArgument("layers", len(lowers), f"overlayfs has {mounter.MAX_LAYERS}")
        mappings = (tuple(uid_mappings), tuple(gid_mappings))
        async with self._locks.hold(("active", directory)):
            with _faults(directory):
                await run_blocking(
                    self._mount_threads,
                    self._mount,
                    folder,
                    lowers,
                    mappings=mappings,
                    readonly=readonly,
                    context=selinux_label,
                )
        return folder / "rootfs"

    async def bind_idmapped(
        self,
        binds: Sequence[tuple[Path, Path]],
        uid_mappings: Sequence[tuple[int, int, int]],
        gid_mappings: Sequence[tuple[int, int, int]],
    ) -> None:
        mappings = (tuple(uid_mappings), tuple(gid_mappings))
        with _faults("idmapped binds"):
            await run_blocking(self._mount_threads, _bind_idmapped, binds, mappings)

    async def unmount(self, directory: str) -> None:
        async with self._locks.hold(("active", directory)):
            await complete(self._unmount(self.upper_path(directory).parent / "rootfs"))

    async def remove_active(self, directory: str) -> None:
        folder = self.upper_path(directory).parent
        async with self._locks.hold(("active", directory)):
            await complete(self._unmount(folder / "rootfs"))
            await self._take_away(folder)

    async def usage(self, directory: str) -> Usage:
        upper = str(self.upper_path(directory))
        for _ in range(3):
            try:
                with _faults(directory):
                    found = await run_blocking(self._tree_threads, trees.usage, upper)
            except trees.TreeChanged:
                continue
            return Usage(found.size_bytes, found.inodes, found.content_bytes)
        raise Unavailable("snapshot usage", f"folders of {directory!r} move while counted")

    async def changes(
        self,
        directory: str,
        layers: Sequence[str],
        ignored: frozenset[str],
        only: frozenset[str] | None = None,
    ) -> Sequence[PathChange]:
        upper, lowers = self.upper_path(directory), [self.layer_path(layer) for layer in layers]
        with _faults(directory):
            return await run_blocking(
                self._tree_threads, upper_changes, upper, lowers, ignored, only
            )

    # ------------------------------------------------------------ on threads

    def _make_folders(self) -> list[Path]:
        """Returns what is left in ``tmp``, with nothing mounted there any more."""
        # Processes of user namespaces go through these to their root file system, but cannot list them.
        for folder, mode in (
            (self._tmp.parent, 0o711),
            (self._active, 0o711),
            (self._layers, 0o700),
            (self._tmp, 0o700),
            (self._empty, 0o755),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
        left = list(self._tmp.iterdir())
        for folder in left:
            if folder.name.startswith("idmap-"):
                for point in folder.iterdir():
                    _umount(str(point), libc.MNT_DETACH)
        return left

    def _mount(
        self,
        folder: Path,
        lowers: Sequence[Path],
        *,
        mappings: tuple[Mappings, Mappings],
        readonly: bool,
        context: str,
    ) -> None:
        target = folder / "rootfs"
        if os.path.ismount(target):
            return
        for path in lowers:
            if not path.is_dir():
                raise NotFound("layer", path.parent.name)
        if context and not os.path.isdir("/sys/fs/selinux"):
            raise FailedPrecondition("SELinux label", context, "this host has no SELinux")
        if not folder.is_dir():
            self._make_active(folder, lowers[0], mappings)
        visible = mounter.visible_lowers(lowers)
        with contextlib.ExitStack() as stack:
            if any(mappings):
                namespace = open_user_namespace(*mappings)
                stack.callback(os.close, namespace)
                visible = stack.enter_context(mounter.idmapped(visible, namespace, self._tmp))
            mounter.mount_overlay(
                str(target),
                visible,
                str(folder / "fs"),
                str(folder / "work"),
                readonly=readonly,
                context=context,
            )

    def _make_active(self, folder: Path, top: Path, mappings: tuple[Mappings, Mappings]) -> None:
        """Whole or not at all. The upper folder's mode and owner are those of the container's root."""
        new = self._tmp / f"active-{secrets.token_hex(8)}"
        for part in (new, new / "fs", new / "work", new / "rootfs"):
            part.mkdir()
        new.chmod(0o711)
        info = top.stat()
        uids, gids = mappings
        os.chown(new / "fs", host_id(uids, info.st_uid), host_id(gids, info.st_gid))
        (new / "fs").chmod(stat.S_IMODE(info.st_mode))
        new.rename(folder)

    # ------------------------------------------------------------ removal

    async def _unmount(self, target: Path) -> None:
        with _faults(str(target)):
            for delay_s in _BUSY_DELAYS_S:
                try:
                    await run_blocking(self._mount_threads, _umount, str(target), 0)
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    await asyncio.sleep(delay_s)
                else:
                    return
            # Someone holds it still (a process that is dying, a shell in there): out of sight at least.
            await run_blocking(self._mount_threads, _umount, str(target), libc.MNT_DETACH)

    async def _take_away(self, folder: Path) -> None:
        """Remove a folder: out of its place at once, so that nobody finds half of it."""
        going = self._tmp / f"gone-{secrets.token_hex(8)}"
        with _faults(folder.name):
            try:
                await run_blocking(self._mount_threads, os.rename, folder, going)
            except FileNotFoundError:
                return
        await complete(self._remove_tree(going))

    async def _remove_tree(self, folder: Path) -> None:
        with _faults(folder.name):
            for delay_s in (*_BUSY_DELAYS_S, None):
                try:
                    await run_blocking(self._removal_threads, trees.remove, str(folder))
                except OSError as error:
                    # A worker of a killed daemon, not yet dead, may still write there.
                    if error.errno != errno.ENOTEMPTY or delay_s is None:
                        raise
                    await asyncio.sleep(delay_s)
                else:
                    return


def _checked(directory: str) -> str:
    if not directory or directory in (".", "..") or "/" in directory or "\0" in directory:
        raise InvalidArgument("snapshot folder", directory, "not one part of a path")
    return directory


def _make_layer_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "fs").mkdir()
    (folder / "fs").chmod(0o755)


def _put_layer(folder: Path, target: Path) -> bool:
    """False when the layer is there already."""
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and target.is_dir():
            return False
        raise
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _umount(point: str, flags: int) -> None:
    """Unmount until nothing is mounted there. EBUSY is raised."""
    while True:
        try:
            libc.umount(point, flags | libc.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return
            raise


def _bind_idmapped(binds: Sequence[tuple[Path, Path]], mappings: tuple[Mappings, Mappings]) -> None:
    with contextlib.ExitStack() as stack:
        namespace = open_user_namespace(*mappings)
        stack.callback(os.close, namespace)
        for source, target in binds:
            try:
                is_folder = stat.S_ISDIR(source.stat().st_mode)
            except FileNotFoundError as error:
                raise NotFound("mount source", str(source)) from error
            target.parent.mkdir(parents=True, exist_ok=True)
            if is_folder:
                target.mkdir(exist_ok=True)
            else:
                target.touch()
            mount = mountapi.clone_tree(str(source))
            stack.callback(os.close, mount)
            try:
                mountapi.idmap(mount, namespace)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    raise FailedPrecondition(
                        "mount source", str(source), "its file system has no idmapped mounts"
                    ) from error
                raise
            _umount(str(target), libc.MNT_DETACH)
            mountapi.attach(mount, str(target))


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@contextlib.contextmanager
def _faults(what: str) -> Iterator[None]:
    """OSErrors become faults here."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("snapshot", what) from error
    except OSError as error:
        raise _fault(what, error) from error


def _fault(what: str, error: OSError) -> Fault:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted("disk", f"no space left for {what}")
    return Internal(f"snapshot {what}", error.strerror or str(error))
