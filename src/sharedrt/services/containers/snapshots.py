"""A container's writable snapshot: its rows, and the mount while it runs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sharedrt.model.drivers import LayerUnpacker, PathChange, Snapshotter, Usage
from sharedrt.model.faults import FailedPrecondition
from sharedrt.model.ids import ContainerId, SnapshotKey
from sharedrt.model.records import ContainerRecord, SnapshotKind, SnapshotRecord
from sharedrt.model.spec import IdMapping
from sharedrt.model.stores import NamespacedStore, Transaction
from sharedrt.services.layout import Layout

_PLAIN_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


class ContainerSnapshots:
    """Active snapshots, by container."""

    def __init__(
        self,
        layout: Layout,
        store: NamespacedStore,
        snapshotter: Snapshotter,
        unpacker: LayerUnpacker,
    ) -> None:
        self._layout, self._store, self._snapshotter = layout, store, snapshotter
        self._unpacker = unpacker
        self._held: Counter[ContainerId] = Counter()

    def row(
        self, record: ContainerRecord, parent: SnapshotKey | None, created_ns: int
    ) -> SnapshotRecord:
        """The row to insert with the container's."""
        return SnapshotRecord(
            key=SnapshotKey(record.id),
            kind=SnapshotKind.ACTIVE,
            parent=parent,
            directory=self._layout.active_directory(record.id),
            created_ns=created_ns,
        )

    async def mount(self, record: ContainerRecord) -> Path:
        """The root file system's path, mounted. Idempotent."""
        layers = await self._store.read(lambda tx: _layers(tx, SnapshotKey(record.id)))
        spec = record.spec.namespaces
        return await self._snapshotter.mount(
            self._layout.active_directory(record.id),
            layers,
            uid_mappings=[(m.container_id, m.host_id, m.size) for m in spec.uid_mappings],
            gid_mappings=[(m.container_id, m.host_id, m.size) for m in spec.gid_mappings],
            selinux_label=record.spec.security.selinux_mount_label,
        )

    async def fill(self, record: ContainerRecord, changes: Path) -> None:
        """Make the writable layer what an uncompressed layer's tar says. It is not mounted.

        Raises:
            DataLoss, InvalidArgument: the tar. ResourceExhausted: the disk.
        """
        # Also of an earlier try, after which a daemon was killed.
        await self._snapshotter.remove_active(self._layout.active_directory(record.id))
        await self.mount(record)  # so that the folder is there
        await self._snapshotter.unmount(self._layout.active_directory(record.id))
        await self._unpacker.apply(changes, _PLAIN_LAYER, self.upper(record))

    async def mount_view(self, record: ContainerRecord, key: SnapshotKey, directory: str) -> Path:
        """A read-only snapshot's path, mounted for a container. Idempotent."""
        layers = await self._store.read(lambda tx: _layers(tx, key))
        spec = record.spec.namespaces
        return await self._snapshotter.mount(
            directory,
            layers,
            readonly=True,
            uid_mappings=[(m.container_id, m.host_id, m.size) for m in spec.uid_mappings],
            gid_mappings=[(m.container_id, m.host_id, m.size) for m in spec.gid_mappings],
            selinux_label=record.spec.security.selinux_mount_label,
        )

    async def mount_layers(self, directory: str, layers: Sequence[SnapshotKey]) -> Path:
        """An image's path, mounted read-only before any row names it. :meth:`remove_view` undoes it.

        Args:
            layers: chain ids, topmost first.
        """
        rows = await self._store.read(lambda tx: [tx.snapshots.get(key) for key in layers])
        folders = [row.directory for row in rows if row is not None]
        return await self._snapshotter.mount(directory, folders, readonly=True)

    async def unmount_view(self, directory: str) -> None:
        await self._snapshotter.unmount(directory)

    async def remove_view(self, directory: str) -> None:
        await self._snapshotter.remove_active(directory)

    async def bind_idmapped(
        self,
        binds: Sequence[tuple[Path, Path]],
        uids: Sequence[IdMapping],
        gids: Sequence[IdMapping],
    ) -> None:
        """See :meth:`sharedrt.model.drivers.Snapshotter.bind_idmapped`."""
        await self._snapshotter.bind_idmapped(
            binds,
            [(m.container_id, m.host_id, m.size) for m in uids],
            [(m.container_id, m.host_id, m.size) for m in gids],
        )

    def hold(self, id: ContainerId) -> None:
        """Until :meth:`let_go` its root file system stays mounted."""
        self._held[id] += 1

    def let_go(self, id: ContainerId) -> bool:
        """Whether that was the last hold: the caller then unmounts what does not run."""
        self._held[id] -= 1
        if self._held[id]:
            return False
        del self._held[id]
        return True

    def view_path(self, directory: str) -> Path:
        """Where a read-only snapshot is mounted while its container runs."""
        return self._snapshotter.upper_path(directory).parent / "rootfs"

    def upper(self, record: ContainerRecord) -> Path:
        """The writable layer's folder; there since the container was first mounted."""
        return self._snapshotter.upper_path(self._layout.active_directory(record.id))

    async def lower(self, record: ContainerRecord) -> Sequence[Path]:
        """The image's layers' folders, topmost first."""
        layers = await self._store.read(lambda tx: _layers(tx, SnapshotKey(record.id)))
        return [self._snapshotter.layer_path(layer) for layer in layers]

    async def changes(
        self,
        record: ContainerRecord,
        ignored: frozenset[str],
        only: frozenset[str] | None = None,
    ) -> Sequence[PathChange]:
        """What the writable layer changes of those below; ``ignored`` paths only when they are not empty. ``only``: at
        these paths alone, each one's folder being another of them."""
        directory = self._layout.active_directory(record.id)
        if directory not in await self._snapshotter.actives_on_disk():
            return []
        layers = await self._store.read(lambda tx: _layers(tx, SnapshotKey(record.id)))
        return await self._snapshotter.changes(directory, layers, ignored, only)

    async def unmount(self, record: ContainerRecord) -> None:
        """Idempotent. Not while somebody holds it."""
        if self._held[record.id]:
            return
        await self._snapshotter.unmount(self._layout.active_directory(record.id))

    async def remove(self, record: ContainerRecord) -> None:
        await self._snapshotter.remove_active(self._layout.active_directory(record.id))

    async def usage(self, record: ContainerRecord) -> Usage:
        return await self._snapshotter.usage(self._layout.active_directory(record.id))


def _layers(tx: Transaction, key: SnapshotKey) -> Sequence[str]:
    """Folders of the committed layers below an active snapshot, topmost first."""
    row = tx.snapshots.get(key)
    if row is None:
        raise FailedPrecondition("snapshot", key, "has no row")
    folders = []
    while row.parent is not None:
        parent = tx.snapshots.get(row.parent)
        if parent is None:
            raise FailedPrecondition("snapshot", row.parent, "has no row")
        folders.append(parent.directory)
        row = parent
    return folders
