"""The tables, as SQLAlchemy models. ``migrations/`` must agree with them; a test compares the two.

Two rules hold for every namespaced table, and a test reads them off this metadata, so that a new table
cannot break them: its primary key begins with ``namespace``, and its foreign keys to other namespaced
tables join ``namespace`` to ``namespace``. SQLite itself so refuses a row that refers into another namespace.

Keys, references and what queries filter on are columns; the rest of a record is its ``document``
(``model/codec.py``), so that a new field of a record needs no migration.
"""

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Index, MetaData, String
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sharedrt.model.records import Json

NAMING = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
"""Every constraint has a name, since alembic's batch mode can only alter what it can name."""


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {str: String(), int: BigInteger(), Json: JSON()}  # noqa: RUF012


class Namespaced:
    """Mixin: the table belongs to namespaces, and its primary key begins with the namespace."""

    namespace: Mapped[str] = mapped_column(
        ForeignKey("namespaces.name"), primary_key=True, sort_order=-2
    )


class Documented:
    """Mixin: when the row was made, and the record's fields that have no column."""

    created_ns: Mapped[int] = mapped_column(sort_order=1)
    document: Mapped[Json] = mapped_column(JSON(), nullable=False, sort_order=2)


def refers(table: str, /, *, on_delete: str | None = None, **columns: str) -> ForeignKeyConstraint:
    """A composite foreign key inside one namespace: ``refers("sandboxes", sandbox_id="id")``."""
    local = ["namespace", *columns]
    remote = [f"{table}.{name}" for name in ("namespace", *columns.values())]
    return ForeignKeyConstraint(local, remote, ondelete=on_delete)


class NamespaceRow(Base):
    """Global: the namespaces themselves, each with the number of its newest event."""

    __tablename__ = "namespaces"

    name: Mapped[str] = mapped_column(primary_key=True)
    last_event: Mapped[int] = mapped_column(server_default="0")
    created_ns: Mapped[int]
    document: Mapped[Json] = mapped_column(JSON(), nullable=False)


class BlobRow(Base):
    """Global: the content store's blobs, once for all namespaces."""

    __tablename__ = "blobs"

    digest: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int]
    media_type: Mapped[str]
    created_ns: Mapped[int]


class BlobAccessRow(Namespaced, Documented, Base):
    """Who may see a blob. Times and media type are the namespace's own: the first comer's would tell of it."""

    __tablename__ = "blob_access"
    __table_args__ = (Index(None, "digest"),)

    digest: Mapped[str] = mapped_column(ForeignKey("blobs.digest"), primary_key=True)


class SandboxRow(Namespaced, Documented, Base):
    __tablename__ = "sandboxes"
    __table_args__ = (Unique("namespace", "pod_namespace", "name", "uid", "attempt"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    uid: Mapped[str]
    pod_namespace: Mapped[str]
    attempt: Mapped[int]


class SnapshotRow(Namespaced, Documented, Base):
    __tablename__ = "snapshots"
    __table_args__ = (refers("snapshots", parent="key"), Index(None, "namespace", "parent"))

    key: Mapped[str] = mapped_column(primary_key=True)
    parent: Mapped[str | None]
    directory: Mapped[str]


class VolumeRow(Namespaced, Documented, Base):
    __tablename__ = "volumes"

    name: Mapped[str] = mapped_column(primary_key=True)


class ContainerRow(Namespaced, Documented, Base):
    """``name`` is null for a container without one, since null is the one value that may repeat."""

    __tablename__ = "containers"
    __table_args__ = (
        Unique("namespace", "name"),
        refers("sandboxes", sandbox_id="id"),
        refers("snapshots", snapshot_key="key"),
        refers("blob_access", image_id="digest"),
        Index(None, "namespace", "sandbox_id"),
        Index(None, "namespace", "snapshot_key"),
        Index(None, "namespace", "image_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    image_id: Mapped[str | None]
    sandbox_id: Mapped[str | None]
    snapshot_key: Mapped[str | None]


class ContainerVolumeRow(Namespaced, Base):
    """Which volumes a container's spec mounts, so that a volume in use cannot go."""

    __tablename__ = "container_volumes"
    __table_args__ = (
        refers("containers", container_id="id", on_delete="CASCADE"),
        refers("volumes", volume="name"),
        Index(None, "namespace", "volume"),
    )

    container_id: Mapped[str] = mapped_column(primary_key=True)
    volume: Mapped[str] = mapped_column(primary_key=True)


class ExecRow(Namespaced, Documented, Base):
    __tablename__ = "execs"
    __table_args__ = (
        refers("containers", container_id="id"),
        Index(None, "namespace", "container_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    container_id: Mapped[str]


class ImageRow(Namespaced, Documented, Base):
    __tablename__ = "images"
    __table_args__ = (
        refers("blob_access", image_id="digest"),
        refers("blob_access", manifest="digest"),
        refers("blob_access", target_digest="digest"),
        Index(None, "namespace", "image_id"),
        Index(None, "namespace", "manifest"),
        Index(None, "namespace", "target_digest"),
    )

    reference: Mapped[str] = mapped_column(primary_key=True)
    image_id: Mapped[str | None]
    manifest: Mapped[str | None]
    target_digest: Mapped[str]


class LeaseRow(Namespaced, Documented, Base):
    __tablename__ = "leases"

    id: Mapped[str] = mapped_column(primary_key=True)
    expires_ns: Mapped[int]


class NetworkRow(Namespaced, Documented, Base):
    __tablename__ = "networks"
    __table_args__ = (Unique("namespace", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


class EndpointRow(Namespaced, Documented, Base):
    """``owner`` is a container's or a sandbox's id, so it cannot be a foreign key to either."""

    __tablename__ = "endpoints"
    __table_args__ = (
        Unique("namespace", "id", "network_id"),
        refers("networks", network_id="id"),
        Index(None, "namespace", "network_id"),
        Index(None, "namespace", "owner"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    network_id: Mapped[str]
    owner: Mapped[str]


class EndpointAddressRow(Namespaced, Base):
    """An endpoint's lease of an address: the primary key is what keeps two from holding the same one."""

    __tablename__ = "endpoint_addresses"
    __table_args__ = (
        refers("endpoints", endpoint_id="id", network_id="network_id", on_delete="CASCADE"),
        Index(None, "namespace", "endpoint_id"),
    )

    network_id: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str]


class PublishedPortRow(Namespaced, Base):
    """A host port in use. The host has one set of ports, so this is unique over all namespaces.

    ``host_ip`` is empty for every address of both families. That a wildcard excludes the specific
    addresses is checked in code, inside the transaction (``published_ports.py``).
    """

    __tablename__ = "published_ports"
    __table_args__ = (
        Unique("protocol", "host_port", "host_ip"),
        refers("endpoints", endpoint_id="id", on_delete="CASCADE"),
        Index(None, "namespace", "endpoint_id"),
    )

    protocol: Mapped[str] = mapped_column(primary_key=True)
    host_port: Mapped[int] = mapped_column(primary_key=True)
    host_ip: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str]


class BuildStepRow(Namespaced, Documented, Base):
    __tablename__ = "build_steps"
    __table_args__ = (
        refers("snapshots", snapshot_key="key"),
        Index(None, "namespace", "snapshot_key"),
    )

    key: Mapped[str] = mapped_column(primary_key=True)
    snapshot_key: Mapped[str | None]


class BuildStepLayerRow(Namespaced, Base):
    """Which blobs a step needs, so that they cannot go before it."""

    __tablename__ = "build_step_layers"
    __table_args__ = (
        refers("build_steps", step="key", on_delete="CASCADE"),
        refers("blob_access", digest="digest"),
        Index(None, "namespace", "digest"),
    )

    step: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)


class BuildCacheRow(Namespaced, Documented, Base):
    __tablename__ = "build_caches"

    id: Mapped[str] = mapped_column(primary_key=True)


class EventRow(Namespaced, Base):
    __tablename__ = "events"
    __table_args__ = (Index(None, "namespace", "time_ns"),)

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time_ns: Mapped[int]
    kind: Mapped[str]
    action: Mapped[str]
    actor: Mapped[str]
    document: Mapped[Json] = mapped_column(JSON(), nullable=False)


class ImageShareRow(Namespaced, Base):
    """``namespace`` lends the images whose reference fits ``pattern`` to ``borrower``."""

    __tablename__ = "image_shares"
    __table_args__ = (Index(None, "borrower"),)

    borrower: Mapped[str] = mapped_column(ForeignKey("namespaces.name"), primary_key=True)
    pattern: Mapped[str] = mapped_column(primary_key=True)
    created_ns: Mapped[int]


class OperationRow(Namespaced, Documented, Base):
    __tablename__ = "operations"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
