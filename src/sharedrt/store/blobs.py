"""Blobs as one namespace sees them (``model.stores.BlobAccess``): a global row, and a grant of its own.

Times, media type and labels are the grant's. The global row's would tell that another namespace came first.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from sqlalchemy import (
    Connection,
    RowMapping,
    Table,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
)
from sqlalchemy import update as update_
from sqlalchemy.exc import IntegrityError

from sharedrt.model.codec import from_json, to_json
from sharedrt.model.faults import DataLoss, NotFound
from sharedrt.model.ids import Digest, Namespace
from sharedrt.model.records import BlobRecord, Json
from sharedrt.store.constraints import refused_delete
from sharedrt.store.models import BlobAccessRow, BlobRow

_BLOBS = cast(Table, BlobRow.__table__)
_GRANTS = cast(Table, BlobAccessRow.__table__)

_HERE = (_GRANTS.c.namespace == bindparam("ns"), _GRANTS.c.digest == bindparam("id"))
_GET = (
    select(_GRANTS.c.digest, _BLOBS.c.size, _GRANTS.c.created_ns, _GRANTS.c.document)
    .join_from(_GRANTS, _BLOBS)
    .where(*_HERE)
)
_LIST = (
    select(_GRANTS.c.digest, _BLOBS.c.size, _GRANTS.c.created_ns, _GRANTS.c.document)
    .join_from(_GRANTS, _BLOBS)
    .where(_GRANTS.c.namespace == bindparam("ns"))
    .order_by(_GRANTS.c.created_ns, literal_column("blob_access.rowid"))
)
_SIZE = select(_BLOBS.c.size).where(_BLOBS.c.digest == bindparam("id"))
_ADD_BLOB = insert(_BLOBS)
_ADD_GRANT = insert(_GRANTS)
_CHANGE_GRANT = update_(_GRANTS).where(*_HERE).values(document=bindparam("changed"))
_REVOKE = delete(_GRANTS).where(*_HERE)


class BlobGrants:
    def __init__(self, connection: Connection, namespace: Namespace) -> None:
        self._connection = connection
        self._namespace = namespace

    def get(self, digest: Digest) -> BlobRecord | None:
        row = self._connection.execute(_GET, {"ns": self._namespace, "id": digest}).first()
        return None if row is None else _record(row._mapping)

    def list(self) -> Sequence[BlobRecord]:
        rows = self._connection.execute(_LIST, {"ns": self._namespace})
        return [_record(row) for row in rows.mappings()]

    def grant(self, record: BlobRecord) -> BlobRecord:
        """See the contract. A blob of another size under the same digest is DataLoss."""
        size = self._connection.execute(_SIZE, {"id": record.digest}).scalar()
        if size is None:
            row = {
                "digest": record.digest,
                "size": record.size,
                "media_type": record.media_type,
                "created_ns": record.created_ns,
            }
            self._connection.execute(_ADD_BLOB, row)
        elif size != record.size:
            raise DataLoss(
                f"blob {record.digest}", f"{record.size} bytes were granted, {size} are recorded"
            )
        held = self.get(record.digest)
        if held is None:
            row = {
                "namespace": self._namespace,
                "digest": record.digest,
                "created_ns": record.created_ns,
                "document": _document(record),
            }
            self._connection.execute(_ADD_GRANT, row)
            return record
        return self._change(
            replace(
                held,
                media_type=record.media_type or held.media_type,
                labels={**held.labels, **record.labels},
                updated_ns=max(record.updated_ns, held.updated_ns),
            )
        )

    def set_labels(self, digest: Digest, labels: dict[str, str]) -> BlobRecord:
        held = self.get(digest)
        if held is None:
            raise NotFound("blob", digest)
        return self._change(replace(held, labels=dict(labels), updated_ns=time.time_ns()))

    def revoke(self, digest: Digest) -> bool:
        try:
            done = self._connection.execute(_REVOKE, {"ns": self._namespace, "id": digest})
        except IntegrityError as error:
            key = {"namespace": self._namespace, "digest": digest}
            in_use = refused_delete(self._connection, _GRANTS, key, digest)
            if in_use is None:
                raise
            raise in_use from error
        return done.rowcount > 0

    def _change(self, record: BlobRecord) -> BlobRecord:
        self._connection.execute(
            _CHANGE_GRANT,
            {"ns": self._namespace, "id": record.digest, "changed": _document(record)},
        )
        return record


def _document(record: BlobRecord) -> Json:
    document = cast(dict[str, Json], to_json(record))
    return {k: v for k, v in document.items() if k not in ("digest", "size", "created_ns")}


def _record(row: RowMapping) -> BlobRecord:
    columns = {name: row[name] for name in ("digest", "size", "created_ns")}
    try:
        return from_json(BlobRecord, {**row["document"], **columns})
    except (ValueError, TypeError) as error:
        raise DataLoss(f"blob_access row {row['digest']!r}", str(error)) from error
