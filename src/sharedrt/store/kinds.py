"""How each kind of record lies in its table: which fields are columns, and which rows hang on it."""

import ipaddress
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Select, Table, bindparam, delete, insert, literal_column, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import DeclarativeBase

from sharedrt.model import records
from sharedrt.model.codec import compact_json, from_json, to_json
from sharedrt.model.faults import DataLoss, InvalidArgument
from sharedrt.model.ids import (
    ContainerId,
    EndpointId,
    ExecId,
    LeaseId,
    NetworkId,
    OperationId,
    SandboxId,
    SnapshotKey,
)
from sharedrt.model.records import Json
from sharedrt.model.spec import MountKind
from sharedrt.store import models
from sharedrt.store.published_ports import host_port_rows
from sharedrt.store.statements import Statement, Value

K = TypeVar("K", bound=str)
R = TypeVar("R")
Values = dict[str, Value]
"""Column names to values."""
Rows = list[Values]


@dataclass(frozen=True)
class Links(Generic[R]):
    """Rows of another table that follow from a record, and are replaced with it."""

    model: type[DeclarativeBase]
    owner: str
    """The column that names the record's key."""
    rows: Callable[[R], Rows]
    """Without ``namespace`` and the owner's column."""

    @cached_property
    def table(self) -> Table:
        return cast(Table, self.model.__table__)

    @cached_property
    def insert(self) -> Statement:
        return Statement(insert(self.table))

    @cached_property
    def delete(self) -> Statement:
        """Parameters: ``ns``, ``id``."""
        here = self.table.c.namespace == bindparam("ns")
        return Statement(
            delete(self.table).where(here, self.table.c[self.owner] == bindparam("id"))
        )


@dataclass(frozen=True)
class Kind(Generic[K, R]):
    """One kind of record and its table.

    ``columns`` are the fields with a column of the same name. A null in one of ``blank`` stands for an
    empty string, so that neither uniqueness nor a reference is asked of it. ``derived`` gives columns
    that repeat something deeper inside the record, for constraints.
    """

    model: type[DeclarativeBase]
    record: type[R]
    key: str
    columns: tuple[str, ...]
    blank: frozenset[str] = frozenset()
    derived: Callable[[R], Values] = lambda _: {}
    links: tuple[Links[R], ...] = ()

    def to_row(self, namespace: str, record: R) -> Values:
        document = cast(dict[str, Json], to_json(record))
        row: Values = {"namespace": namespace}
        for name in self.columns:
            document.pop(name, None)
            value = getattr(record, name)
            row[name] = None if value == "" and name in self.blank else value
        row.update(self.derived(record))
        row["document"] = compact_json(document)
        return row

    def to_record(self, row: Sequence[Any]) -> R:
        """From the columns of :attr:`select`. Raises DataLoss when the document is not one of this kind."""
        try:
            whole = json.loads(row[-1])
            whole.update(zip(self.columns, row, strict=False))
            for name in self.blank:
                if whole[name] is None:
                    whole[name] = ""
            return from_json(self.record, whole)
        except (ValueError, TypeError, AttributeError) as error:
            raise DataLoss(f"{self.table.name} row {row[0]!r}", str(error)) from error

    @cached_property
    def table(self) -> Table:
        return cast(Table, self.model.__table__)

    @cached_property
    def select(self) -> Select[Any]:
        """``columns``, ``namespace``, ``document`` of all rows, oldest first.

        Rows made in the same nanosecond come in the order of their insertion.
        """
        names = (*self.columns, "namespace", "document")
        return select(*(self.table.c[name] for name in names)).order_by(
            self.table.c.created_ns, literal_column("rowid")
        )

    @cached_property
    def select_everywhere(self) -> Statement:
        return Statement(self.select)

    @cached_property
    def select_all(self) -> Statement:
        """Parameter: ``ns``."""
        return Statement(self.select.where(self.table.c.namespace == bindparam("ns")))

    @cached_property
    def select_one(self) -> Statement:
        """Parameters: ``ns``, ``id``."""
        here = self.table.c.namespace == bindparam("ns")
        one = self.select.where(here, self.table.c[self.key] == bindparam("id"))
        return Statement(one.order_by(None))

    @cached_property
    def insert(self) -> Statement:
        return Statement(insert(self.table))

    @cached_property
    def upsert(self) -> Statement:
        statement = upsert(self.table)
        keys = [column.name for column in self.table.primary_key]
        changed = {c.name: c for c in statement.excluded if c.name not in keys}
        return Statement(statement.on_conflict_do_update(index_elements=keys, set_=changed))

    @cached_property
    def delete(self) -> Statement:
        """Parameters: ``ns``, ``id``."""
        here = self.table.c.namespace == bindparam("ns")
        return Statement(delete(self.table).where(here, self.table.c[self.key] == bindparam("id")))


def _volume_rows(record: records.ContainerRecord) -> Rows:
    names = {m.source for m in record.spec.mounts if m.kind is MountKind.VOLUME and m.source}
    return [{"volume": name} for name in sorted(names)]


def _address_rows(record: records.EndpointRecord) -> Rows:
    rows: Rows = []
    for text in record.addresses:
        try:
            address = ipaddress.ip_interface(text).ip
        except ValueError as error:
            raise InvalidArgument("endpoint address", text, str(error)) from error
        rows.append({"network_id": record.network_id, "address": str(address)})
    return rows


def _layer_rows(record: records.BuildStepRecord) -> Rows:
    return [{"digest": digest} for digest in sorted({layer.digest for layer in record.layers})]


CONTAINERS = Kind[ContainerId, records.ContainerRecord](
    models.ContainerRow,
    records.ContainerRecord,
    "id",
    ("id", "name", "image_id", "sandbox_id", "snapshot_key", "created_ns"),
    blank=frozenset({"name", "image_id"}),
    links=(Links(models.ContainerVolumeRow, "container_id", _volume_rows),),
)
SANDBOXES = Kind[SandboxId, records.SandboxRecord](
    models.SandboxRow,
    records.SandboxRecord,
    "id",
    ("id", "name", "uid", "pod_namespace", "attempt", "created_ns"),
)
IMAGES = Kind[str, records.ImageRecord](
    models.ImageRow,
    records.ImageRecord,
    "reference",
    ("reference", "image_id", "manifest", "created_ns"),
    blank=frozenset({"image_id", "manifest"}),
    derived=lambda image: {"target_digest": image.target.digest},
)
SNAPSHOTS = Kind[SnapshotKey, records.SnapshotRecord](
    models.SnapshotRow,
    records.SnapshotRecord,
    "key",
    ("key", "parent", "directory", "created_ns"),
)
LEASES = Kind[LeaseId, records.LeaseRecord](
    models.LeaseRow, records.LeaseRecord, "id", ("id", "expires_ns", "created_ns")
)
VOLUMES = Kind[str, records.VolumeRecord](
    models.VolumeRow, records.VolumeRecord, "name", ("name", "created_ns")
)
NETWORKS = Kind[NetworkId, records.NetworkRecord](
    models.NetworkRow, records.NetworkRecord, "id", ("id", "name", "created_ns")
)
ENDPOINTS = Kind[EndpointId, records.EndpointRecord](
    models.EndpointRow,
    records.EndpointRecord,
    "id",
    ("id", "network_id", "owner", "created_ns"),
    links=(
        Links(models.EndpointAddressRow, "endpoint_id", _address_rows),
        Links(models.PublishedPortRow, "endpoint_id", lambda e: host_port_rows(e.ports)),
    ),
)
EXECS = Kind[ExecId, records.ExecRecord](
    models.ExecRow, records.ExecRecord, "id", ("id", "container_id", "created_ns")
)
BUILD_STEPS = Kind[str, records.BuildStepRecord](
    models.BuildStepRow,
    records.BuildStepRecord,
    "key",
    ("key", "snapshot_key", "created_ns"),
    links=(Links(models.BuildStepLayerRow, "step", _layer_rows),),
)
BUILD_CACHES = Kind[str, records.BuildCacheRecord](
    models.BuildCacheRow, records.BuildCacheRecord, "id", ("id", "created_ns")
)
OPERATIONS = Kind[OperationId, records.OperationRecord](
    models.OperationRow, records.OperationRecord, "id", ("id", "kind", "subject", "created_ns")
)
