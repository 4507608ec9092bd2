"""A container's files from outside, running or not: ``docker cp``, ``export``, ``diff``, and the layer of a commit.

What is seen is the root file system with the container's volumes, binds and images on it, as dockerd shows it;
not what lives in its mount namespace alone (tmpfs, /proc, /dev).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from sharedrt.aio.completion import complete
from sharedrt.model.drivers import (
    ExtractRules,
    LayerUnpacker,
    PathChange,
    PathInfo,
    RootArchiver,
    RootMount,
    RootView,
    UserResolver,
)
from sharedrt.model.ids import ContainerId, new_id
from sharedrt.model.records import ContainerRecord
from sharedrt.model.spec import Mount, MountKind, User
from sharedrt.services.containers.life import ContainerLife
from sharedrt.services.containers.rows import attributes
from sharedrt.services.containers.snapshots import ContainerSnapshots
from sharedrt.services.events import NamespacedEvents
from sharedrt.services.layout import Layout
from sharedrt.services.volumes import Volumes
from sharedrt.services.working_set import WorkingSet

RUNTIME_PATHS: Final = frozenset(
    {
        "dev",
        "dev/console",
        "dev/mqueue",
        "dev/pts",
        "dev/shm",
        "etc/hostname",
        "etc/hosts",
        "etc/resolv.conf",
        "proc",
        "sbin/docker-init",
        "sys",
    }
)
"""Mount points that a runtime makes in every container: no change of its own, as long as they are empty."""


class ContainerFiles:
    """One namespace's containers' files."""

    def __init__(
        self,
        layout: Layout,
        records: WorkingSet[ContainerRecord],
        life: ContainerLife,
        snapshots: ContainerSnapshots,
        volumes: Volumes,
        archiver: RootArchiver,
        unpacker: LayerUnpacker,
        users: UserResolver,
        events: NamespacedEvents,
    ) -> None:
        self._layout = layout
        self._records = records
        self._life = life
        self._snapshots = snapshots
        self._volumes = volumes
        self._archiver = archiver
        self._unpacker = unpacker
        self._users = users
        self._events = events

    async def stat(self, id: ContainerId, path: str) -> PathInfo:
        """Raises NotFound (kind ``path``, or the container), InvalidArgument."""
        async with self._view(id) as view:
            return await self._archiver.stat(view, path)

    @asynccontextmanager
    async def archive(
        self, id: ContainerId, path: str
    ) -> AsyncIterator[tuple[PathInfo, AsyncIterator[bytes]]]:
        """A file or folder as a tar whose names begin with the path's last part. Raises as :meth:`stat`."""
        async with self._view(id) as view, self._archiver.pack(view, path) as packed:
            yield packed
        await self._tell("archive-path", id)

    @asynccontextmanager
    async def export(self, id: ContainerId) -> AsyncIterator[AsyncIterator[bytes]]:
        """The root file system as a tar, without what is mounted on it."""
        async with (
            self._rootfs(id) as (record, rootfs),
            self._archiver.export(_bare_view(record, rootfs)) as chunks,
        ):
            yield chunks
        await self._tell("export", id)

    async def extract(
        self,
        id: ContainerId,
        path: str,
        archive: AsyncIterator[bytes],
        *,
        keep_types: bool = False,
        as_user: bool = False,
    ) -> None:
        """Unpack a tar, plain or compressed, into the folder ``path``.

        Args:
            keep_types: refuse to replace a folder by something else, and the other way round.
            as_user: all becomes the property of the user that the container runs as, if it says one.

        Raises:
            NotFound: kind ``path``, or the container. InvalidArgument: no folder, or a hostile archive; nothing
            outside of the container was touched. PermissionDenied: read-only.
        """
        async with self._view(id) as view:
            owner = None
            if as_user:
                owner = await self._owner(self._records.by_id(id), view.rootfs)
            rules = ExtractRules(owner=owner, keep_types=keep_types)
            await self._archiver.extract(view, path, archive, rules)
        await self._tell("extract-to-dir", id)

    async def changes(
        self, id: ContainerId, *, ignored: Collection[str] = ()
    ) -> Sequence[PathChange]:
        """What differs from the image, by path. ``ignored``: further mount points, no change as long as they are empty,
        without a leading slash."""
        record = self._records.by_id(id)
        return await self._snapshots.changes(record, RUNTIME_PATHS | frozenset(ignored))

    async def layer(
        self,
        id: ContainerId,
        sink: Callable[[bytes], Awaitable[None]],
        *,
        exclude: Collection[str] = (),
        newest_ns: int | None = None,
    ) -> None:
        """The same as the tar of a layer.

        Args:
            exclude: further mount points, no change as long as they are empty, without a leading slash.
            newest_ns: later times become this one.
        """
        # Mounted, so that the folder is there even when the container has never run.
        async with self._rootfs(id) as (record, _):
            spec = record.spec.namespaces
            points = RUNTIME_PATHS | frozenset(exclude)
            await self._unpacker.diff(
                self._snapshots.upper(record),
                sink,
                uid_mappings=[(m.container_id, m.host_id, m.size) for m in spec.uid_mappings],
                gid_mappings=[(m.container_id, m.host_id, m.size) for m in spec.gid_mappings],
                exclude=sorted(points | await self._made_for(record, points)),
                newest_ns=newest_ns,
            )

    async def _made_for(self, record: ContainerRecord, points: frozenset[str]) -> frozenset[str]:
        """Folders of mount points that differ from the image by those being made in them alone."""
        folders = frozenset(
            str(folder) for point in points for folder in PurePosixPath(point).parents
        ) - {"."}
        changed = await self._snapshots.changes(record, points, only=folders)
        return folders - {change.path.lstrip("/") for change in changed}

    # ------------------------------------------------------------ views

    @asynccontextmanager
    async def _view(self, id: ContainerId) -> AsyncIterator[RootView]:
        async with self._rootfs(id) as (record, rootfs):
            # As if it were one more container, so that options stay mounted while we look.
            user = ContainerId(f"files-{new_id()[:16]}")
            try:
                mounts = await self._mounts(record, user)
                bare = _bare_view(record, rootfs)
                yield RootView(
                    rootfs,
                    mounts,
                    record.spec.security.readonly_rootfs,
                    bare.uid_mappings,
                    bare.gid_mappings,
                )
            finally:
                await complete(self._release(record, user))

    async def _mounts(self, record: ContainerRecord, user: ContainerId) -> tuple[RootMount, ...]:
        mounts: list[RootMount] = []
        if self._life.is_running(record.id):
            taken = {mount.target for mount in record.spec.mounts}
            folder = self._files_folder(record)
            mounts += [
                RootMount(str(folder / name), f"/etc/{name}")
                for name in ("hostname", "hosts", "resolv.conf")
                if f"/etc/{name}" not in taken
            ]
        for number, mount in enumerate(record.spec.mounts):
            source = await self._source(record, number, mount, user)
            if source is not None:
                mounts.append(RootMount(str(source), mount.target, mount.readonly))
        return tuple(mounts)

    async def _source(
        self, record: ContainerRecord, number: int, mount: Mount, user: ContainerId
    ) -> Path | None:
        """A mount's host path; ``None`` when it is not to be seen from outside, or (of an image, or a part of a
        volume) only while the container runs."""
        if mount.kind is MountKind.TMPFS:
            return None
        if mount.kind is MountKind.BIND:
            return Path(mount.source)
        if mount.sub_path:
            return self._layout.container_run(record.id) / "mounts" / str(number)
        if mount.kind is MountKind.VOLUME:
            return await self._volumes.mount(mount.source, user)
        return self._snapshots.view_path(self._layout.view_directory(record.id, number))

    async def _release(self, record: ContainerRecord, user: ContainerId) -> None:
        for mount in record.spec.mounts:
            if mount.kind is MountKind.VOLUME and not mount.sub_path:
                await self._volumes.release(mount.source, user)

    @asynccontextmanager
    async def _rootfs(self, id: ContainerId) -> AsyncIterator[tuple[ContainerRecord, Path]]:
        """Its root file system, mounted until the block is left, whatever the container does meanwhile."""
        if not self._life.is_running(id):
            async with self._life.locks.hold(id):
                record = self._records.by_id(id)
                self._snapshots.hold(id)
        else:
            record = self._records.by_id(id)
            self._snapshots.hold(id)
        try:
            yield record, await self._snapshots.mount(record)
        finally:
            await complete(self._let_go(record))

    async def _let_go(self, record: ContainerRecord) -> None:
        # A start that is under way must not lose its root file system.
        async with self._life.locks.hold(record.id):
            last = self._snapshots.let_go(record.id)
            known = self._records.find(record.id) is not None
            if last and not self._life.is_running(record.id):
                await self._snapshots.unmount(record)
                if not known:
                    await self._snapshots.remove(record)

    def _files_folder(self, record: ContainerRecord) -> Path:
        network = record.spec.namespaces.network
        owner = ContainerId(network.target) if network.mode == "container" else record.id
        return self._layout.container_run(owner)

    async def _owner(self, record: ContainerRecord, rootfs: Path) -> tuple[int, int] | None:
        name = record.spec.user.name or record.image_defaults.user
        if not name:
            return None
        uid, gid, _ = await self._users.resolve(rootfs, User(name=name))
        return uid, gid

    async def _tell(self, action: str, id: ContainerId) -> None:
        record = self._records.find(id)
        if record is not None:
            await self._events.publish("container", action, id, attributes(record))


def _bare_view(record: ContainerRecord, rootfs: Path) -> RootView:
    spec = record.spec.namespaces
    return RootView(
        rootfs,
        uid_mappings=tuple((m.container_id, m.host_id, m.size) for m in spec.uid_mappings),
        gid_mappings=tuple((m.container_id, m.host_id, m.size) for m in spec.gid_mappings),
    )
