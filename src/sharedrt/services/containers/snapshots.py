"""A container's writable snapshot: its rows, and the mount while it runs."""

from collections.abc import Sequence
from pathlib import Path

from sharedrt.model.drivers import Snapshotter, Usage
from sharedrt.model.faults import FailedPrecondition
from sharedrt.model.ids import SnapshotKey
from sharedrt.model.records import ContainerRecord, SnapshotKind, SnapshotRecord
from sharedrt.model.stores import NamespacedStore, Transaction
from sharedrt.services.layout import Layout


class ContainerSnapshots:
    """Active snapshots, by container."""

    def __init__(self, layout: Layout, store: NamespacedStore, snapshotter: Snapshotter) -> None:
        self._layout, self._store, self._snapshotter = layout, store, snapshotter

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

    async def unmount_view(self, directory: str) -> None:
        await self._snapshotter.unmount(directory)

    async def remove_view(self, directory: str) -> None:
        await self._snapshotter.remove_active(directory)

    async def unmount(self, record: ContainerRecord) -> None:
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
