"""From what a client asked to be mounted to host paths that exist: binds, volumes, images, tmpfs."""

import asyncio
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import complete
from sharedrt.aio.priority import thread_pool
from sharedrt.model.drivers import (
    HostFiles,
    ResolvedMount,
    RootArchiver,
    RootView,
    VolumeFolders,
)
from sharedrt.model.faults import Internal, InvalidArgument, NotFound
from sharedrt.model.ids import ContainerId, SnapshotKey, new_id
from sharedrt.model.records import ContainerRecord, SnapshotKind, SnapshotRecord
from sharedrt.model.spec import IdMapping, Mount, MountKind
from sharedrt.services.containers.snapshots import ContainerSnapshots
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.images import Images
from sharedrt.services.layout import Layout
from sharedrt.services.volumes import ANONYMOUS_LABEL, DRIVER, NewVolume, Volumes, volumes_of

_PROPAGATIONS: Final = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_BIND: Final = ("rbind", "rprivate")
_LOOKERS: Final = thread_pool(32, "bind-sources")
"""A source may be a file server's that does not answer, and then holds a thread for as long: not one of those that all
else needs."""


def settle_volumes(
    mounts: Sequence[Mount], asked: Sequence[NewVolume]
) -> tuple[tuple[Mount, ...], list[NewVolume]]:
    """Name anonymous volumes, and say how each volume is to be made that is not there yet.

    Args:
        asked: labels and options of volumes by name, where the client gave any.
    """
    known = {volume.name: volume for volume in asked}
    settled: list[Mount] = []
    volumes: dict[str, NewVolume] = {}
    for mount in mounts:
        if mount.kind is MountKind.VOLUME and not mount.source:
            mount = replace(mount, source=new_id())
            volumes[mount.source] = NewVolume(mount.source, labels={ANONYMOUS_LABEL: ""})
        elif mount.kind is MountKind.VOLUME:
            volumes[mount.source] = known.get(mount.source) or NewVolume(mount.source)
        settled.append(mount)
    return tuple(settled), list(volumes.values())


class ContainerMounts:
    """What one namespace's containers have mounted beside their root file system."""

    def __init__(
        self,
        layout: Layout,
        volumes: Volumes,
        folders: VolumeFolders,
        images: Images,
        snapshots: ContainerSnapshots,
        host: HostFiles,
        archiver: RootArchiver,
        events: NamespacedEvents,
    ) -> None:
        self._layout = layout
        self._volumes = volumes
        self._folders = folders
        self._images = images
        self._snapshots = snapshots
        self._host = host
        self._archiver = archiver
        self._events = events

    # ------------------------------------------------------------ images

    def settle_images(self, mounts: Sequence[Mount]) -> tuple[Mount, ...]:
        """Note which image each name stands for now. Raises NotFound: kind ``image``."""
        return tuple(
            replace(mount, image_id=self._images.get(mount.source).id)
            if mount.kind is MountKind.IMAGE
            else mount
            for mount in mounts
        )

    async def check_sub_paths(self, id: ContainerId, mounts: Sequence[Mount]) -> None:
        """A kubelet wants to know at once that an image does not have what is to be mounted of it.

        Raises:
            InvalidArgument.
        """
        for number, mount in enumerate(mounts):
            if mount.kind is not MountKind.IMAGE or not mount.sub_path:
                continue
            _check_sub_path(mount.sub_path)
            image = self._images.get(mount.image_id)
            directory = self._layout.view_directory(id, number)
            try:
                view = await self._snapshots.mount_layers(directory, image.layers)
                await self._archiver.stat(RootView(view, readonly=True), mount.sub_path)
            except NotFound as fault:
                raise InvalidArgument(
                    "mount sub path", mount.sub_path, "the image has no such path"
                ) from fault
            finally:
                await complete(self._snapshots.remove_view(directory))

    async def view_rows(self, id: ContainerId, mounts: Sequence[Mount]) -> list[SnapshotRecord]:
        """A read-only snapshot's row for each image mount: it keeps the layers as long as the container is there.

        Raises:
            NotFound: kind ``image``.
        """
        rows = []
        for number, mount in enumerate(mounts):
            if mount.kind is not MountKind.IMAGE:
                continue
            image = self._images.get(mount.image_id)
            await self._images.ensure_unpacked(image)
            rows.append(
                SnapshotRecord(
                    key=_view_key(id, number),
                    kind=SnapshotKind.VIEW,
                    parent=image.layers[0] if image.layers else None,
                    directory=self._layout.view_directory(id, number),
                    created_ns=time.time_ns(),
                )
            )
        return rows

    def view_keys(self, record: ContainerRecord) -> list[SnapshotKey]:
        """Keys of the rows that :meth:`view_rows` made."""
        return [
            _view_key(record.id, number)
            for number, mount in enumerate(record.spec.mounts)
            if mount.kind is MountKind.IMAGE
        ]

    async def remove_views(self, record: ContainerRecord) -> None:
        """The container is gone, and its rows are."""
        for number, mount in enumerate(record.spec.mounts):
            if mount.kind is MountKind.IMAGE:
                await self._snapshots.remove_view(self._layout.view_directory(record.id, number))

    # ------------------------------------------------------------ start and end

    async def resolve(self, record: ContainerRecord, rootfs: Path) -> tuple[ResolvedMount, ...]:
        """Settle each mount's source. Idempotent; :meth:`release` undoes it.

        Raises:
            InvalidArgument: a bind's source is missing, or a target, propagation or sub path makes no sense.
            NotFound: a volume. FailedPrecondition: a volume's options cannot be mounted.
        """
        resolved = []
        for number, mount in enumerate(record.spec.mounts):
            _check(mount)
            match mount.kind:
                case MountKind.BIND:
                    resolved.append(await _bind(mount))
                case MountKind.TMPFS:
                    resolved.append(_tmpfs(mount))
                case MountKind.VOLUME:
                    resolved.append(await self._volume(record, number, mount, rootfs))
                case MountKind.IMAGE:
                    resolved.append(await self._image(record, number, mount))
        await self._relabel(record, resolved)
        await self._map_owners(record, resolved)
        await self._tell("mount", record, sorted(volumes_of(record.spec.mounts)))
        return tuple(resolved)

    async def _relabel(self, record: ContainerRecord, resolved: list[ResolvedMount]) -> None:
        """Only a host with SELinux gives its containers a label."""
        label = record.spec.security.selinux_mount_label
        for mount, found in zip(record.spec.mounts, resolved, strict=True):
            writable = mount.kind in (MountKind.BIND, MountKind.VOLUME)
            if label and writable and mount.selinux_relabel:
                shared = mount.selinux_relabel == "shared"
                await self._host.relabel(Path(found.source), label, shared=shared)

    async def _map_owners(self, record: ContainerRecord, resolved: list[ResolvedMount]) -> None:
        """Binds that carry mappings are bound once more, at a place of ours, with their files' owners mapped."""
        groups: dict[tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]], list[int]] = {}
        for number, mount in enumerate(record.spec.mounts):
            if mount.kind is MountKind.BIND and (mount.uid_mappings or mount.gid_mappings):
                key = (mount.uid_mappings, mount.gid_mappings)
                groups.setdefault(key, []).append(number)
        folder = self._layout.container_run(record.id) / "mounts"
        for (uids, gids), numbers in groups.items():
            binds = [(Path(resolved[number].source), folder / str(number)) for number in numbers]
            await self._snapshots.bind_idmapped(binds, uids, gids)
            for number in numbers:
                resolved[number] = replace(resolved[number], source=str(folder / str(number)))

    async def release(self, record: ContainerRecord) -> None:
        """It does not run: nothing stays mounted for it. Idempotent."""
        for number, mount in enumerate(record.spec.mounts):
            if mount.kind is MountKind.IMAGE:
                await self._snapshots.unmount_view(self._layout.view_directory(record.id, number))
        names = sorted(volumes_of(record.spec.mounts))
        held = [name for name in names if await self._volumes.release(name, record.id)]
        await self._tell("unmount", record, held)

    async def _volume(
        self, record: ContainerRecord, number: int, mount: Mount, rootfs: Path
    ) -> ResolvedMount:
        data = await self._volumes.mount(mount.source, record.id)
        if mount.sub_path:
            _check_sub_path(mount.sub_path)
        if not mount.nocopy:
            await self._copy_up(mount, rootfs)
        source = await self._within(record, number, mount, data)
        return ResolvedMount(str(source), mount.target, "bind", (*_BIND, *_access(mount)))

    async def _copy_up(self, mount: Mount, rootfs: Path) -> None:
        """What the image has at the target becomes the content of a volume that is empty."""
        folder = self._layout.volume(mount.source)
        async with self._volumes.copying(mount.source):
            if not await self._folders.wants_copy(folder, rootfs, mount.target, mount.sub_path):
                return
            staging = await self._folders.staging(folder)
            await self._archiver.copy(rootfs, mount.target, staging)
            await self._folders.finish_copy(folder, mount.sub_path)

    async def _image(self, record: ContainerRecord, number: int, mount: Mount) -> ResolvedMount:
        directory = self._layout.view_directory(record.id, number)
        view = await self._snapshots.mount_view(record, _view_key(record.id, number), directory)
        source = await self._within(record, number, mount, view)
        return ResolvedMount(str(source), mount.target, "bind", (*_BIND, "ro"))

    async def _within(
        self, record: ContainerRecord, number: int, mount: Mount, folder: Path
    ) -> Path:
        """The folder itself, or its part that the mount shows: bound by descriptor, since whoever writes there could
        put a link in its place at any time. Goes with the container's other files of this run."""
        if not mount.sub_path:
            return folder
        _check_sub_path(mount.sub_path)
        point = self._layout.container_run(record.id) / "mounts" / str(number)
        try:
            await self._host.bind_in_root(folder, mount.sub_path, point, beneath=True)
        except InvalidArgument as fault:
            raise InvalidArgument(
                "mount sub path",
                mount.sub_path,
                f"path concatenation escapes the base directory: base: {str(folder)!r}, "
                f"sub: {mount.sub_path!r}",
            ) from fault
        except NotFound as fault:
            raise InvalidArgument(
                "mount sub path",
                mount.sub_path,
                f"cannot access path {mount.sub_path}: no such file or directory",
            ) from fault
        return point

    async def _tell(self, action: str, record: ContainerRecord, volumes: Sequence[str]) -> None:
        by_name = {m.source: m for m in record.spec.mounts if m.kind is MountKind.VOLUME}
        if not volumes:
            return
        events = [
            NewEvent(
                "volume",
                action,
                name,
                {"container": record.id, "driver": DRIVER}
                | (_facts(by_name[name]) if action == "mount" else {}),
            )
            for name in volumes
        ]
        await self._events.commit(lambda tx: None, *events)


def _facts(mount: Mount) -> dict[str, str]:
    return {
        "destination": mount.target,
        "propagation": mount.propagation,
        "read/write": "false" if mount.readonly else "true",
    }


def _view_key(id: ContainerId, number: int) -> SnapshotKey:
    return SnapshotKey(f"{id}.{number}")


def _check_sub_path(path: str) -> None:
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidArgument("mount sub path", path, "must be a relative path inside")


def _check(mount: Mount) -> None:
    if not mount.target.startswith("/"):
        raise InvalidArgument("mount target", mount.target, "must be an absolute path")
    if mount.propagation and mount.propagation not in _PROPAGATIONS:
        raise InvalidArgument("mount propagation", mount.propagation, "unknown")


def _access(mount: Mount) -> tuple[str, ...]:
    access = "ro" if mount.readonly else "rw"
    return (access, "rro") if mount.recursive_readonly else (access,)


async def _bind(mount: Mount) -> ResolvedMount:
    loop = asyncio.get_running_loop()
    source, is_folder = await loop.run_in_executor(_LOOKERS, _bind_source, mount)
    if not is_folder:
        # Nothing can be mounted below a file, and crun would refuse to look.
        mount = replace(mount, recursive_readonly=False)
    propagation = mount.propagation or "rprivate"
    # A client's own ``bind`` leaves out what is mounted below the source; of the runtimes some take a recursive
    # propagation for a recursive bind.
    if "bind" in mount.options:
        options = (propagation.removeprefix("r"), *_access(mount), *mount.options)
    else:
        options = ("rbind", propagation, *_access(mount), *mount.options)
    return ResolvedMount(
        source, mount.target, "bind", options, propagation_default=mount.propagation_default
    )


def _tmpfs(mount: Mount) -> ResolvedMount:
    options = ["nosuid", "nodev"] + ([] if "exec" in mount.options else ["noexec"])
    if mount.readonly:
        options.append("ro")
    return ResolvedMount("tmpfs", mount.target, "tmpfs", (*options, *mount.options))


def _bind_source(mount: Mount) -> tuple[str, bool]:
    """The path without links, and whether it is a folder."""
    if not mount.source.startswith("/") or "\0" in mount.source:
        raise InvalidArgument("bind source", mount.source, "must be an absolute path")
    source = os.path.realpath(mount.source)
    try:
        is_folder = stat.S_ISDIR(os.stat(source).st_mode)
    except FileNotFoundError:
        if not mount.create_source:
            raise InvalidArgument(
                'mount config for type "bind"',
                mount.source,
                f"bind source path does not exist: {mount.source}",
            ) from None
        _make_source(source)
        is_folder = True
    except OSError as error:
        raise InvalidArgument("bind source", mount.source, error.strerror or str(error)) from error
    return source, is_folder


def _make_source(path: str) -> None:
    try:
        Path(path).mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        where, words = error.filename or path, (error.strerror or str(error)).lower()
        raise Internal(
            f"error while creating mount source path '{path}'", f"mkdir {where}: {words}"
        ) from error
