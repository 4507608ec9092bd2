"""Blobs as one namespace sees them (``model.stores.BlobAccess``): a global row, and a grant of its own.

Times, media type and labels are the grant's. The global row's would tell that another namespace came first.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from sqlalchemy import Table, bindparam, delete, insert, literal_column, select
from sqlalchemy import update as update_

from sharedrt.model.codec import compact_json, from_json, to_json
from sharedrt.model.faults import DataLoss, NotFound
from sharedrt.model.ids import Digest, Namespace
from sharedrt.model.records import BlobRecord, Json
from sharedrt.store.constraints import refused_delete
from sharedrt.store.models import BlobAccessRow, BlobRow
from sharedrt.store.statements import Statement

_BLOBS = cast(Table, BlobRow.__table__)
_GRANTS = cast(Table, BlobAccessRow.__table__)

_HERE = _GRANTS.c.namespace == bindparam("ns")
_THIS = _GRANTS.c.digest == bindparam("id")
_COLUMNS = ("digest", "size", "created_ns")
_SEEN = (
    select(_GRANTS.c.digest, _BLOBS.c.size, _GRANTS.c.created_ns, _GRANTS.c.document)
    .join_from(_GRANTS, _BLOBS)
    .where(_HERE)
)
_GET = Statement(_SEEN.where(_THIS))
_LIST = Statement(_SEEN.order_by(_GRANTS.c.created_ns, literal_column("blob_access.rowid")))
_SIZE = Statement(select(_BLOBS.c.size).where(_BLOBS.c.digest == bindparam("id")))
_ADD_BLOB = Statement(insert(_BLOBS))
_ADD_GRANT = Statement(insert(_GRANTS))
_CHANGE_GRANT = Statement(update_(_GRANTS).where(_HERE, _THIS).values(document=bindparam("new")))
_REVOKE = Statement(delete(_GRANTS).where(_HERE, _THIS))


class BlobGrants:
    __slots__ = ("_connection", "_namespace")

    def __init__(self, connection: sqlite3.Connection, namespace: Namespace) -> None:
        self._connection = connection
        self._namespace = namespace

    def get(self, digest: Digest) -> BlobRecord | None:
        row = _GET(self._connection, ns=self._namespace, id=digest).fetchone()
        return None if row is None else _record(row)

    def list(self) -> Sequence[BlobRecord]:
        return [_record(row) for row in _LIST(self._connection, ns=self._namespace)]

    def grant(self, record: BlobRecord) -> BlobRecord:
        """See the contract. Another size under the same digest is DataLoss."""
        self._record_once(record)
        held = self.get(record.digest)
        if held is not None:
            return self._change(
                replace(
                    held,
                    media_type=record.media_type or held.media_type,
                    labels={**held.labels, **record.labels},
                    updated_ns=max(record.updated_ns, held.updated_ns),
                )
            )
        _ADD_GRANT(
            self._connection,
            namespace=self._namespace,
            digest=record.digest,
            created_ns=record.created_ns,
            document=_document(record),
        )
        return record

    def set_labels(self, digest: Digest, labels: dict[str, str]) -> BlobRecord:
        held = self.get(digest)
        if held is None:
            raise NotFound("blob", digest)
        return self._change(replace(held, labels=dict(labels), updated_ns=time.time_ns()))

    def revoke(self, digest: Digest) -> bool:
        try:
            done = _REVOKE(self._connection, ns=self._namespace, id=digest)
        except sqlite3.IntegrityError as error:
            key = {"namespace": self._namespace, "digest": digest}
            in_use = refused_delete(self._connection, _GRANTS, key, digest)
            if in_use is None:
                raise
            raise in_use from error
        return done.rowcount > 0

    def _record_once(self, record: BlobRecord) -> None:
        known = _SIZE(self._connection, id=record.digest).fetchone()
        if known is None:
            _ADD_BLOB(
                self._connection,
                digest=record.digest,
                size=record.size,
                media_type=record.media_type,
                created_ns=record.created_ns,
            )
        elif known[0] != record.size:
            reason = f"{record.size} bytes were granted, {known[0]} are recorded"
            raise DataLoss(f"blob {record.digest}", reason)

    def _change(self, record: BlobRecord) -> BlobRecord:
        new = _document(record)
        _CHANGE_GRANT(self._connection, ns=self._namespace, id=record.digest, new=new)
        return record


def _document(record: BlobRecord) -> str:
    document = cast(dict[str, Json], to_json(record))
    return compact_json({name: v for name, v in document.items() if name not in _COLUMNS})


def _record(row: Sequence[Any]) -> BlobRecord:
    try:
        whole = {**json.loads(row[-1]), **dict(zip(_COLUMNS, row, strict=False))}
        return from_json(BlobRecord, whole)
    except (ValueError, TypeError) as error:
        raise DataLoss(f"blob_access row {row[0]!r}", str(error)) from error
