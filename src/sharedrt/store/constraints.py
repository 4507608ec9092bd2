"""What a refused constraint means: SQLite says which constraint, the tables then say who is in the way."""

import sqlite3
from collections.abc import Mapping

from sqlalchemy import ForeignKeyConstraint, Table, select

from sharedrt.model.faults import AlreadyExists, Fault, InUse, NotFound
from sharedrt.store.errors import database_fault
from sharedrt.store.models import Base
from sharedrt.store.statements import Statement, Value

_NOUNS = {
    "blob_access": "blob",
    "build_caches": "build cache",
    "build_steps": "build step",
    "containers": "container",
    "endpoint_addresses": "address",
    "endpoints": "endpoint",
    "execs": "exec",
    "images": "image",
    "leases": "lease",
    "namespaces": "namespace",
    "networks": "network",
    "operations": "operation",
    "published_ports": "host port",
    "sandboxes": "sandbox",
    "snapshots": "snapshot",
    "volumes": "volume",
}
_HOLDERS = {
    "build_step_layers": "step",
    "container_volumes": "container_id",
    "endpoint_addresses": "endpoint_id",
    "published_ports": "endpoint_id",
    "endpoints": "owner",
}
"""The column that names who holds or uses something, where it is not the table's own key."""

MAX_USERS = 20
"""At most so many users of an object in use are named for each table."""


def refused_insert(
    connection: sqlite3.Connection,
    table: Table,
    row: Mapping[str, Value],
    error: sqlite3.IntegrityError,
) -> Fault:
    """Why ``row`` could not be added: AlreadyExists, NotFound, or Internal for any other constraint."""
    code = error.sqlite_errorcode
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return _already_exists(connection, table, row, str(error))
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        for constraint in _references(table):
            names = [column.name for column in constraint.columns]
            parent = constraint.referred_table
            wanted = [element.column for element in constraint.elements]
            values = [row.get(name) for name in names]
            if None in values:
                continue
            found = select(*wanted).where(*(c == v for c, v in zip(wanted, values, strict=True)))
            if Statement(found)(connection).fetchone() is None:
                return NotFound(_NOUNS.get(parent.name, parent.name), str(values[-1]))
    return database_fault(error)


def refused_delete(
    connection: sqlite3.Connection, table: Table, key: Mapping[str, Value], name: str
) -> InUse | None:
    """Who uses the row with this whole primary key; None when nobody does."""
    users: dict[str, None] = {}
    for child in Base.metadata.sorted_tables:
        for constraint in child.foreign_key_constraints:
            if constraint.referred_table is not table or constraint.ondelete:
                continue
            elements = constraint.elements
            joined = [e.parent == key[e.column.name] for e in elements if e.column.name in key]
            holder = child.c[_HOLDERS.get(child.name, list(child.primary_key)[-1].name)]
            rows = Statement(select(holder).where(*joined).limit(MAX_USERS))(connection)
            users.update((str(row[0]), None) for row in rows)
    return InUse(_NOUNS[table.name], name, tuple(users)) if users else None


def _already_exists(
    connection: sqlite3.Connection, table: Table, row: Mapping[str, Value], message: str
) -> Fault:
    # SQLite's words: "UNIQUE constraint failed: containers.namespace, containers.name"
    names = [part.rpartition(".")[2] for part in message.partition(": ")[2].split(", ")]
    holder = table.c[_HOLDERS.get(table.name, list(table.primary_key)[-1].name)]
    query = select(holder).where(*(table.c[n] == row[n] for n in names))
    found = Statement(query)(connection).fetchone()
    shown = "name" if "name" in names else names[-1]
    return AlreadyExists(_NOUNS[table.name], str(row[shown]), str(found[0]) if found else "")


def _references(table: Table) -> list[ForeignKeyConstraint]:
    """In the order of the columns, so that the same mistake is always answered in the same way."""
    return sorted(
        table.foreign_key_constraints, key=lambda c: [*table.c].index(c.columns.values()[-1])
    )
