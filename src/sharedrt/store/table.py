"""One namespace's rows of one kind, inside a transaction (``model.stores.Table``)."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from sharedrt.model.ids import Namespace
from sharedrt.store.constraints import refused_delete, refused_insert
from sharedrt.store.kinds import Kind, Links, Rows, Values
from sharedrt.store.models import PublishedPortRow
from sharedrt.store.published_ports import refuse_taken_ports

K = TypeVar("K", bound=str)
R = TypeVar("R")


class RecordTable(Generic[K, R]):
    """Core statements, built once a kind: the ORM's unit of work would cost more than SQLite does."""

    def __init__(self, kind: Kind[K, R], connection: Connection, namespace: Namespace) -> None:
        self._kind = kind
        self._connection = connection
        self._namespace = namespace

    def get(self, key: K) -> R | None:
        row = self._connection.execute(
            self._kind.select_one, {"ns": self._namespace, "id": key}
        ).first()
        return None if row is None else self._kind.to_record(row._mapping)

    def list(self) -> Sequence[R]:
        rows = self._connection.execute(self._kind.select_all, {"ns": self._namespace})
        return [self._kind.to_record(row) for row in rows.mappings()]

    def add(self, record: R) -> R:
        self._store(record, replace=False)
        return record

    def put(self, record: R) -> R:
        self._store(record, replace=True)
        return record

    def delete(self, key: K) -> bool:
        try:
            done = self._connection.execute(self._kind.delete, {"ns": self._namespace, "id": key})
        except IntegrityError as error:
            whole_key = {"namespace": self._namespace, self._kind.key: key}
            in_use = refused_delete(self._connection, self._kind.table, whole_key, key)
            if in_use is None:
                raise
            raise in_use from error
        return done.rowcount > 0

    def _store(self, record: R, *, replace: bool) -> None:
        kind = self._kind
        row = kind.to_row(self._namespace, record)
        if not kind.links:
            self._execute_row(row, replace=replace)
            return
        # A use case may catch the fault and go on, so a record must not stay without its links.
        linked = [(links, self._linked_rows(links, record, row[kind.key])) for links in kind.links]
        if not replace and not any(rows for _, rows in linked):
            self._execute_row(row, replace=False)
            return
        with self._connection.begin_nested():
            if replace:
                for links, _ in linked:
                    self._connection.execute(
                        links.delete, {"ns": self._namespace, "id": row[kind.key]}
                    )
            self._execute_row(row, replace=replace)
            for links, rows in linked:
                self._execute_links(links, rows)

    def _linked_rows(self, links: Links[R], record: R, key: str) -> Rows:
        base = {"namespace": self._namespace, links.owner: key}
        return [base | row for row in links.rows(record)]

    def _execute_row(self, row: Values, *, replace: bool) -> None:
        statement = self._kind.upsert if replace else self._kind.insert
        try:
            self._connection.execute(statement, row)
        except IntegrityError as error:
            raise refused_insert(self._connection, self._kind.table, row, error) from error

    def _execute_links(self, links: Links[R], rows: Rows) -> None:
        if links.model is PublishedPortRow:
            refuse_taken_ports(self._connection, self._namespace, rows)
        for row in rows:
            try:
                self._connection.execute(links.insert, row)
            except IntegrityError as error:
                raise refused_insert(self._connection, links.table, row, error) from error
