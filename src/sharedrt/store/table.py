"""One namespace's rows of one kind, inside a transaction (``model.stores.Table``)."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from sharedrt.model.ids import Namespace
from sharedrt.store.constraints import refused_delete, refused_insert
from sharedrt.store.kinds import Kind, Links, Rows, Values
from sharedrt.store.models import PublishedPortRow
from sharedrt.store.published_ports import refuse_taken_ports

K = TypeVar("K", bound=str)
R = TypeVar("R")


class RecordTable(Generic[K, R]):
    """``kind`` knows the columns and the statements; this runs them for one namespace."""

    __slots__ = ("_connection", "_kind", "_namespace")

    def __init__(
        self, kind: Kind[K, R], connection: sqlite3.Connection, namespace: Namespace
    ) -> None:
        self._kind = kind
        self._connection = connection
        self._namespace = namespace

    def get(self, key: K) -> R | None:
        row = self._kind.select_one(self._connection, ns=self._namespace, id=key).fetchone()
        return None if row is None else self._kind.to_record(row)

    def list(self) -> Sequence[R]:
        rows = self._kind.select_all(self._connection, ns=self._namespace)
        return [self._kind.to_record(row) for row in rows]

    def add(self, record: R) -> R:
        row = self._kind.to_row(self._namespace, record)
        links = self._links(record, row)
        if any(rows for _, rows in links):
            with _all_or_nothing(self._connection):
                self._insert(row)
                self._insert_links(links)
        else:
            self._insert(row)
        return record

    def put(self, record: R) -> R:
        row = self._kind.to_row(self._namespace, record)
        links = self._links(record, row)
        if links:
            with _all_or_nothing(self._connection):
                for link, _ in links:
                    link.delete(self._connection, ns=self._namespace, id=row[self._kind.key])
                self._upsert(row)
                self._insert_links(links)
        else:
            self._upsert(row)
        return record

    def delete(self, key: K) -> bool:
        try:
            done = self._kind.delete(self._connection, ns=self._namespace, id=key)
        except sqlite3.IntegrityError as error:
            whole_key: Values = {"namespace": self._namespace, self._kind.key: key}
            in_use = refused_delete(self._connection, self._kind.table, whole_key, key)
            if in_use is None:
                raise
            raise in_use from error
        return done.rowcount > 0

    def _links(self, record: R, row: Values) -> Sequence[tuple[Links[R], Rows]]:
        found = []
        for link in self._kind.links:
            base = {"namespace": self._namespace, link.owner: row[self._kind.key]}
            found.append((link, [base | rest for rest in link.rows(record)]))
        return found

    def _insert(self, row: Values) -> None:
        try:
            self._kind.insert(self._connection, **row)
        except sqlite3.IntegrityError as error:
            raise refused_insert(self._connection, self._kind.table, row, error) from error

    def _upsert(self, row: Values) -> None:
        try:
            self._kind.upsert(self._connection, **row)
        except sqlite3.IntegrityError as error:
            raise refused_insert(self._connection, self._kind.table, row, error) from error

    def _insert_links(self, links: Sequence[tuple[Links[R], Rows]]) -> None:
        for link, rows in links:
            if link.model is PublishedPortRow:
                refuse_taken_ports(self._connection, self._namespace, rows)
            for row in rows:
                try:
                    link.insert(self._connection, **row)
                except sqlite3.IntegrityError as error:
                    raise refused_insert(self._connection, link.table, row, error) from error


@contextmanager
def _all_or_nothing(connection: sqlite3.Connection) -> Iterator[None]:
    """A use case may catch a fault and go on; a record must not stay then without its links."""
    connection.execute("SAVEPOINT record")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk may have undone all of it already
            connection.execute("ROLLBACK TO record")
            connection.execute("RELEASE record")
        raise
    connection.execute("RELEASE record")
