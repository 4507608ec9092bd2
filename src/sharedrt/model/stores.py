"""What services need of the database. Implemented by ``sharedrt.store`` on SQLite.

A use case is one function over a transaction, run on the writer's thread; concurrent ones share a
commit (group commit) but not their fate: each runs in a savepoint of its own::

    record = await store.write(lambda tx: tx.containers.add(new))

Inside the function nothing may block or wait but the database. When ``write`` returns, its changes are on
disk. A cancelled ``write`` may or may not have happened.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sharedrt.model.ids import (
    ContainerId,
    Digest,
    EndpointId,
    ExecId,
    LeaseId,
    Namespace,
    NetworkId,
    OperationId,
    SandboxId,
    SnapshotKey,
)
from sharedrt.model.records import (
    BlobRecord,
    BuildCacheRecord,
    BuildStepRecord,
    ContainerRecord,
    EndpointRecord,
    EventRecord,
    ExecRecord,
    ImageRecord,
    LeaseRecord,
    NamespaceRecord,
    NetworkRecord,
    OperationRecord,
    SandboxRecord,
    SnapshotRecord,
    VolumeRecord,
)

T = TypeVar("T")
K_contra = TypeVar("K_contra", contravariant=True)
R = TypeVar("R")


class Table(Protocol[K_contra, R]):
    """One namespace's rows of one kind."""

    def get(self, key: K_contra) -> R | None: ...

    def list(self) -> Sequence[R]:
        """All rows of this namespace, oldest first."""
        ...

    def add(self, record: R) -> R:
        """Insert.

        Raises:
            AlreadyExists: id, name or another unique column is taken in this namespace.
            NotFound: the record refers to something that this namespace does not have.
        """
        ...

    def put(self, record: R) -> R:
        """Insert, or replace the row with the same key. Raises as :meth:`add` does."""
        ...

    def delete(self, key: K_contra) -> bool:
        """Remove; whether a row was there.

        Raises:
            InUse: another row refers to it.
        """
        ...


class BlobAccess(Protocol):
    """The blobs that this namespace may see (a global row by digest, and this namespace's access to it)."""

    def get(self, digest: Digest) -> BlobRecord | None: ...

    def list(self) -> Sequence[BlobRecord]: ...

    def grant(self, record: BlobRecord) -> BlobRecord:
        """Record the blob, once for all namespaces, and this namespace's access; labels are merged."""
        ...

    def set_labels(self, digest: Digest, labels: dict[str, str]) -> BlobRecord:
        """Replace this namespace's labels of the blob. Raises NotFound."""
        ...

    def revoke(self, digest: Digest) -> bool:
        """End this namespace's access. The file goes with the last access, by garbage collection.

        Raises:
            InUse: an image or container of this namespace needs it.
        """
        ...


class EventLog(Protocol):
    """This namespace's events, bounded to the newest ``events.keep`` of the configuration."""

    def append(
        self, time_ns: int, kind: str, action: str, actor: str, attributes: dict[str, str]
    ) -> EventRecord:
        """Add an event; its sequence number grows without gaps that readers could see."""
        ...

    def since(self, since_ns: int, until_ns: int, limit: int) -> Sequence[EventRecord]:
        """Events with ``since_ns <= time_ns <= until_ns``, oldest first, the newest ``limit`` of them."""
        ...


class Transaction(Protocol):
    """One namespace's tables inside a transaction."""

    @property
    def containers(self) -> Table[ContainerId, ContainerRecord]: ...
    @property
    def sandboxes(self) -> Table[SandboxId, SandboxRecord]: ...
    @property
    def images(self) -> Table[str, ImageRecord]: ...
    @property
    def blobs(self) -> BlobAccess: ...
    @property
    def snapshots(self) -> Table[SnapshotKey, SnapshotRecord]: ...
    @property
    def leases(self) -> Table[LeaseId, LeaseRecord]: ...
    @property
    def volumes(self) -> Table[str, VolumeRecord]: ...
    @property
    def networks(self) -> Table[NetworkId, NetworkRecord]: ...
    @property
    def endpoints(self) -> Table[EndpointId, EndpointRecord]: ...
    @property
    def execs(self) -> Table[ExecId, ExecRecord]: ...
    @property
    def operations(self) -> Table[OperationId, OperationRecord]: ...
    @property
    def build_steps(self) -> Table[str, BuildStepRecord]: ...
    @property
    def build_caches(self) -> Table[str, BuildCacheRecord]: ...
    @property
    def events(self) -> EventLog: ...


class NamespacedStore(Protocol):
    """The database as one namespace sees it: there is no way from here to another's rows."""

    @property
    def namespace(self) -> Namespace: ...

    async def write(self, use_case: Callable[[Transaction], T]) -> T:
        """Run ``use_case`` on the writer's thread; durable when this returns."""
        ...

    async def read(self, use_case: Callable[[Transaction], T]) -> T:
        """Run ``use_case`` on a reader's thread over one consistent snapshot; writing in it is an error."""
        ...


class GlobalTransaction(Protocol):
    """What truly spans namespaces: the administrator's listing, blob garbage collection, recovery."""

    def namespaces(self) -> Sequence[NamespaceRecord]: ...

    def add_namespace(self, record: NamespaceRecord) -> NamespaceRecord:
        """Raises AlreadyExists."""
        ...

    def set_namespace_labels(self, name: Namespace, labels: dict[str, str]) -> NamespaceRecord:
        """Raises NotFound."""
        ...

    def delete_namespace(self, name: Namespace) -> None:
        """Raises NotFound, and InUse while it holds anything but events and operations."""
        ...

    def orphaned_blobs(self) -> Sequence[BlobRecord]:
        """Blobs to which no namespace has access any more."""
        ...

    def forget_blob(self, digest: Digest) -> bool:
        """Remove the global row of a blob; False when some namespace has gained access meanwhile."""
        ...

    def known_blobs(self) -> Sequence[BlobRecord]: ...

    def layer_directories(self) -> Sequence[str]:
        """``SnapshotRecord.directory`` of all namespaces, for removing what no row owns."""
        ...

    def all_operations(self) -> Sequence[tuple[Namespace, OperationRecord]]: ...

    def all_endpoints(self) -> Sequence[tuple[Namespace, EndpointRecord]]:
        """For the allocation of host ports and subnets, which are the host's and so shared by all."""
        ...

    def all_networks(self) -> Sequence[tuple[Namespace, NetworkRecord]]: ...


class Database(Protocol):
    """The one SQLite file. It has no tables of its own to forget a namespace with."""

    def within(self, namespace: Namespace) -> NamespacedStore: ...

    async def write_global(self, use_case: Callable[[GlobalTransaction], T]) -> T: ...

    async def read_global(self, use_case: Callable[[GlobalTransaction], T]) -> T: ...
