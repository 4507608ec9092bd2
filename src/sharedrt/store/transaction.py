"""One namespace's tables inside a transaction (``model.stores.Transaction``)."""

import sqlite3

from sharedrt.model import records as r
from sharedrt.model.ids import (
    ContainerId,
    EndpointId,
    ExecId,
    LeaseId,
    Namespace,
    NetworkId,
    OperationId,
    SandboxId,
    SnapshotKey,
)
from sharedrt.store import kinds
from sharedrt.store.blobs import BlobGrants
from sharedrt.store.event_log import NamespaceEvents
from sharedrt.store.table import RecordTable


class NamespaceTransaction:
    """A table's object is made when it is asked for: most use cases touch two or three."""

    def __init__(
        self, connection: sqlite3.Connection, namespace: Namespace, events_keep: int
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._events_keep = events_keep

    @property
    def containers(self) -> RecordTable[ContainerId, r.ContainerRecord]:
        return RecordTable(kinds.CONTAINERS, self._connection, self._namespace)

    @property
    def sandboxes(self) -> RecordTable[SandboxId, r.SandboxRecord]:
        return RecordTable(kinds.SANDBOXES, self._connection, self._namespace)

    @property
    def images(self) -> RecordTable[str, r.ImageRecord]:
        return RecordTable(kinds.IMAGES, self._connection, self._namespace)

    @property
    def blobs(self) -> BlobGrants:
        return BlobGrants(self._connection, self._namespace)

    @property
    def snapshots(self) -> RecordTable[SnapshotKey, r.SnapshotRecord]:
        return RecordTable(kinds.SNAPSHOTS, self._connection, self._namespace)

    @property
    def leases(self) -> RecordTable[LeaseId, r.LeaseRecord]:
        return RecordTable(kinds.LEASES, self._connection, self._namespace)

    @property
    def volumes(self) -> RecordTable[str, r.VolumeRecord]:
        return RecordTable(kinds.VOLUMES, self._connection, self._namespace)

    @property
    def networks(self) -> RecordTable[NetworkId, r.NetworkRecord]:
        return RecordTable(kinds.NETWORKS, self._connection, self._namespace)

    @property
    def endpoints(self) -> RecordTable[EndpointId, r.EndpointRecord]:
        return RecordTable(kinds.ENDPOINTS, self._connection, self._namespace)

    @property
    def execs(self) -> RecordTable[ExecId, r.ExecRecord]:
        return RecordTable(kinds.EXECS, self._connection, self._namespace)

    @property
    def operations(self) -> RecordTable[OperationId, r.OperationRecord]:
        return RecordTable(kinds.OPERATIONS, self._connection, self._namespace)

    @property
    def build_steps(self) -> RecordTable[str, r.BuildStepRecord]:
        return RecordTable(kinds.BUILD_STEPS, self._connection, self._namespace)

    @property
    def build_caches(self) -> RecordTable[str, r.BuildCacheRecord]:
        return RecordTable(kinds.BUILD_CACHES, self._connection, self._namespace)

    @property
    def events(self) -> NamespaceEvents:
        return NamespaceEvents(self._connection, self._namespace, self._events_keep)
