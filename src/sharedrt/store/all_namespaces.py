"""What truly spans namespaces (``model.stores.GlobalTransaction``)."""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from sqlalchemy import Table, bindparam, delete, exists, insert, literal_column, select
from sqlalchemy import update as update_
from sqlalchemy.dialects.sqlite import insert as upsert

from sharedrt.model.codec import compact_json, from_json, to_json
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
from sharedrt.store import kinds, models
from sharedrt.store.statements import Statement

R = TypeVar("R")

_NAMESPACES = cast(Table, models.NamespaceRow.__table__)
_BLOBS = cast(Table, models.BlobRow.__table__)
_GRANTS = cast(Table, models.BlobAccessRow.__table__)
_SNAPSHOTS = cast(Table, models.SnapshotRow.__table__)
_TRANSIENT = (cast(Table, models.EventRow.__table__), cast(Table, models.OperationRow.__table__))
"""Tables that do not keep a namespace from being deleted, and go with it."""

_THIS = _NAMESPACES.c.name == bindparam("ns")
_COLUMNS = ("name", "created_ns")
_SELECT = select(*(_NAMESPACES.c[name] for name in (*_COLUMNS, "document")))
_LIST = Statement(_SELECT.order_by(_NAMESPACES.c.created_ns, literal_column("rowid")))
_GET = Statement(_SELECT.where(_THIS))
_ADD = Statement(insert(_NAMESPACES))
_ENSURE = Statement(upsert(_NAMESPACES).on_conflict_do_nothing())
_CHANGE = Statement(update_(_NAMESPACES).where(_THIS).values(document=bindparam("new")))
_DELETE = Statement(delete(_NAMESPACES).where(_THIS))

_NOBODY = ~exists().where(_GRANTS.c.digest == _BLOBS.c.digest)
_BLOB = select(_BLOBS.c.digest, _BLOBS.c.size, _BLOBS.c.media_type, _BLOBS.c.created_ns)
_KNOWN = Statement(_BLOB.order_by(_BLOBS.c.created_ns, literal_column("rowid")))
_ORPHANED = Statement(
    _BLOB.where(_NOBODY).order_by(_BLOBS.c.created_ns, literal_column("blobs.rowid"))
)
_FORGET = Statement(delete(_BLOBS).where(_BLOBS.c.digest == bindparam("id"), _NOBODY))
_DIRECTORIES = Statement(select(_SNAPSHOTS.c.directory).distinct())


def ensure_namespace(connection: sqlite3.Connection, name: Namespace) -> None:
    """Make the namespace's row unless it is there."""
    _ENSURE(connection, **_row(NamespaceRecord(name, created_ns=time.time_ns())))


class AllNamespaces:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def namespaces(self) -> Sequence[NamespaceRecord]:
        return [_record(row) for row in _LIST(self._connection)]

    def add_namespace(self, record: NamespaceRecord) -> NamespaceRecord:
        if self._find(record.name) is not None:
            raise AlreadyExists("namespace", record.name)
        _ADD(self._connection, **_row(record))
        return record

    def set_namespace_labels(self, name: Namespace, labels: dict[str, str]) -> NamespaceRecord:
        held = self._find(name)
        if held is None:
            raise NotFound("namespace", name)
        changed = replace(held, labels=dict(labels))
        _CHANGE(self._connection, ns=name, new=_document(changed))
        return changed

    def delete_namespace(self, name: Namespace) -> None:
        """See the contract; ``users`` of the InUse are the names of the tables that hold something."""
        if self._find(name) is None:
            raise NotFound("namespace", name)
        tables = models.Base.metadata.sorted_tables
        holding = tuple(table.name for table in tables if self._holds(table, name))
        if holding:
            raise InUse("namespace", name, holding)
        for table in _TRANSIENT:
            Statement(delete(table).where(table.c.namespace == name))(self._connection)
        _DELETE(self._connection, ns=name)

    def orphaned_blobs(self) -> Sequence[BlobRecord]:
        return self._blobs(_ORPHANED)

    def forget_blob(self, digest: Digest) -> bool:
        return _FORGET(self._connection, id=digest).rowcount > 0

    def known_blobs(self) -> Sequence[BlobRecord]:
        return self._blobs(_KNOWN)

    def layer_directories(self) -> Sequence[str]:
        return [directory for (directory,) in _DIRECTORIES(self._connection)]

    def all_operations(self) -> Sequence[tuple[Namespace, OperationRecord]]:
        return self._all(kinds.OPERATIONS)

    def all_endpoints(self) -> Sequence[tuple[Namespace, EndpointRecord]]:
        return self._all(kinds.ENDPOINTS)

    def all_networks(self) -> Sequence[tuple[Namespace, NetworkRecord]]:
        return self._all(kinds.NETWORKS)

    def _find(self, name: Namespace) -> NamespaceRecord | None:
        row = _GET(self._connection, ns=name).fetchone()
        return None if row is None else _record(row)

    def _holds(self, table: Table, name: Namespace) -> bool:
        """Whether a row of the table, transient ones aside, refers to the namespace in any of its columns."""
        if table in _TRANSIENT:
            return False
        referring = [key.parent for key in table.foreign_keys if key.column.table is _NAMESPACES]
        queries = (select(column).where(column == name).limit(1) for column in referring)
        return any(Statement(query)(self._connection).fetchone() for query in queries)

    def _blobs(self, statement: Statement) -> Sequence[BlobRecord]:
        return [
            BlobRecord(digest, size, media_type, created_ns=created_ns)
            for digest, size, media_type, created_ns in statement(self._connection)
        ]

    def _all(self, kind: kinds.Kind[Any, R]) -> Sequence[tuple[Namespace, R]]:
        rows = kind.select_everywhere(self._connection)
        return [(Namespace(row[-2]), kind.to_record(row)) for row in rows]


def _row(record: NamespaceRecord) -> kinds.Values:
    return {
        "name": record.name,
        "last_event": 0,
        "created_ns": record.created_ns,
        "document": _document(record),
    }


def _document(record: NamespaceRecord) -> str:
    document = cast(dict[str, Json], to_json(record))
    return compact_json({name: v for name, v in document.items() if name not in _COLUMNS})


def _record(row: Sequence[Any]) -> NamespaceRecord:
    try:
        whole = {**json.loads(row[-1]), **dict(zip(_COLUMNS, row, strict=False))}
        return from_json(NamespaceRecord, whole)
    except (ValueError, TypeError) as error:
        raise DataLoss(f"namespaces row {row[0]!r}", str(error)) from error
