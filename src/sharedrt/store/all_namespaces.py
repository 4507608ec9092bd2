"""What truly spans namespaces (``model.stores.GlobalTransaction``)."""

import time
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    insert,
    literal_column,
    select,
)
from sqlalchemy import update as update_
from sqlalchemy.dialects.sqlite import insert as upsert

from sharedrt.model.codec import from_json, to_json
from sharedrt.model.faults import AlreadyExists, DataLoss, InUse, NotFound
from sharedrt.model.ids import Digest, Namespace
from sharedrt.model.records import (
    BlobRecord,
    EndpointRecord,
    Json,
    NamespaceRecord,
    NetworkRecord,
    OperationRecord,
)
from sharedrt.store import kinds
from sharedrt.store.models import (
    Base,
    BlobAccessRow,
    BlobRow,
    EventRow,
    NamespaceRow,
    OperationRow,
    SnapshotRow,
)

R = TypeVar("R")

_NAMESPACES = cast(Table, NamespaceRow.__table__)
_BLOBS = cast(Table, BlobRow.__table__)
_GRANTS = cast(Table, BlobAccessRow.__table__)
_SNAPSHOTS = cast(Table, SnapshotRow.__table__)
_TRANSIENT = (cast(Table, EventRow.__table__), cast(Table, OperationRow.__table__))
"""Tables that do not keep a namespace from being deleted, and go with it."""

_SELECT_NAMESPACES = select(
    _NAMESPACES.c.name, _NAMESPACES.c.created_ns, _NAMESPACES.c.document
).order_by(_NAMESPACES.c.created_ns, literal_column("rowid"))
_SELECT_NAMESPACE = _SELECT_NAMESPACES.where(_NAMESPACES.c.name == bindparam("ns"))
_ADD_NAMESPACE = insert(_NAMESPACES)
_ENSURE_NAMESPACE = upsert(_NAMESPACES).on_conflict_do_nothing()
_CHANGE_NAMESPACE = (
    update_(_NAMESPACES)
    .where(_NAMESPACES.c.name == bindparam("ns"))
    .values(document=bindparam("changed"))
)
_DELETE_NAMESPACE = delete(_NAMESPACES).where(_NAMESPACES.c.name == bindparam("ns"))

_KNOWN = select(_BLOBS).order_by(_BLOBS.c.created_ns, literal_column("rowid"))
_NOBODY = ~exists().where(_GRANTS.c.digest == _BLOBS.c.digest)
_FORGET = delete(_BLOBS).where(_BLOBS.c.digest == bindparam("id"), _NOBODY)


def ensure_namespace(connection: Connection, name: Namespace) -> None:
    """Make the namespace's row unless it is there."""
    record = NamespaceRecord(name, created_ns=time.time_ns())
    connection.execute(_ENSURE_NAMESPACE, _namespace_row(record))


class AllNamespaces:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def namespaces(self) -> Sequence[NamespaceRecord]:
        rows = self._connection.execute(_SELECT_NAMESPACES)
        return [_namespace(row) for row in rows.mappings()]

    def add_namespace(self, record: NamespaceRecord) -> NamespaceRecord:
        if self._find(record.name) is not None:
            raise AlreadyExists("namespace", record.name)
        self._connection.execute(_ADD_NAMESPACE, _namespace_row(record))
        return record

    def set_namespace_labels(self, name: Namespace, labels: dict[str, str]) -> NamespaceRecord:
        held = self._find(name)
        if held is None:
            raise NotFound("namespace", name)
        changed = NamespaceRecord(name, dict(labels), held.policy, held.quota, held.created_ns)
        row = {"ns": name, "changed": _namespace_row(changed)["document"]}
        self._connection.execute(_CHANGE_NAMESPACE, row)
        return changed

    def delete_namespace(self, name: Namespace) -> None:
        """See the contract; ``users`` of the InUse are the names of the tables that hold something."""
        if self._find(name) is None:
            raise NotFound("namespace", name)
        holding = [t.name for t in Base.metadata.sorted_tables if self._holds(t, name)]
        if holding:
            raise InUse("namespace", name, tuple(holding))
        for table in _TRANSIENT:
            self._connection.execute(delete(table).where(table.c.namespace == name))
        self._connection.execute(_DELETE_NAMESPACE, {"ns": name})

    def orphaned_blobs(self) -> Sequence[BlobRecord]:
        return self._blobs(_KNOWN.where(_NOBODY))

    def forget_blob(self, digest: Digest) -> bool:
        return self._connection.execute(_FORGET, {"id": digest}).rowcount > 0

    def known_blobs(self) -> Sequence[BlobRecord]:
        return self._blobs(_KNOWN)

    def layer_directories(self) -> Sequence[str]:
        return self._connection.execute(select(_SNAPSHOTS.c.directory).distinct()).scalars().all()

    def all_operations(self) -> Sequence[tuple[Namespace, OperationRecord]]:
        return self._all(kinds.OPERATIONS)

    def all_endpoints(self) -> Sequence[tuple[Namespace, EndpointRecord]]:
        return self._all(kinds.ENDPOINTS)

    def all_networks(self) -> Sequence[tuple[Namespace, NetworkRecord]]:
        return self._all(kinds.NETWORKS)

    def _find(self, name: Namespace) -> NamespaceRecord | None:
        row = self._connection.execute(_SELECT_NAMESPACE, {"ns": name}).first()
        return None if row is None else _namespace(row._mapping)

    def _holds(self, table: Table, name: Namespace) -> bool:
        """Whether a row of the table, transient ones aside, refers to the namespace in any of its columns."""
        if table in _TRANSIENT:
            return False
        referring = [key.parent for key in table.foreign_keys if key.column.table is _NAMESPACES]
        found = (select(table).where(column == name).limit(1) for column in referring)
        return any(self._connection.execute(query).first() is not None for query in found)

    def _blobs(self, statement: Select[Any]) -> Sequence[BlobRecord]:
        return [
            BlobRecord(row.digest, row.size, row.media_type, created_ns=row.created_ns)
            for row in self._connection.execute(statement)
        ]

    def _all(self, kind: kinds.Kind[Any, R]) -> Sequence[tuple[Namespace, R]]:
        rows = self._connection.execute(kind.select).mappings()
        return [(Namespace(row["namespace"]), kind.to_record(row)) for row in rows]


def _namespace_row(record: NamespaceRecord) -> dict[str, Any]:
    document = cast(dict[str, Json], to_json(record))
    kept = {k: v for k, v in document.items() if k not in ("name", "created_ns")}
    return {
        "name": record.name,
        "last_event": 0,
        "created_ns": record.created_ns,
        "document": kept,
    }


def _namespace(row: RowMapping) -> NamespaceRecord:
    try:
        whole = {**row["document"], "name": row["name"], "created_ns": row["created_ns"]}
        return from_json(NamespaceRecord, whole)
    except (ValueError, TypeError) as error:
        raise DataLoss(f"namespaces row {row['name']!r}", str(error)) from error
