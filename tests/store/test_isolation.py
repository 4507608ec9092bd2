"""Isolation, for every table there is and every one to come: the tables are read from the migrated file.

First the rules that a table must keep, then what follows from them, tried on SQLite itself.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
)

from sharedrt.model.faults import NotFound
from sharedrt.model.stores import NamespacedStore
from sharedrt.store.models import Base

from . import samples

GLOBAL = {"namespaces", "blobs"}
"""The only tables that belong to no namespace."""
HOST_WIDE = {"published_ports": "host_port"}
"""Unique over all namespaces on purpose, by the column that must differ then."""

TABLES = [table for table in Base.metadata.sorted_tables if table.name not in GLOBAL]
REFERENCES = [
    (table, constraint)
    for table in TABLES
    for constraint in sorted(table.foreign_key_constraints, key=lambda c: str(c.name))
    if constraint.referred_table.name not in GLOBAL
]


def broken_rules(metadata: MetaData) -> list[str]:
    """Every breach of the two rules of ``store/models.py``."""
    found = []
    for table in metadata.sorted_tables:
        if table.name in GLOBAL or table.name == "alembic_version":
            continue
        key = [column.name for column in table.primary_key]
        if key[:1] != ["namespace"] or len(key) < 2:
            found.append(f"{table.name}: primary key {key}")
        targets = {k.target_fullname for k in table.c.get("namespace", Column()).foreign_keys}
        if "namespaces.name" not in targets:
            found.append(f"{table.name}: namespace refers to no namespace")
        for constraint in table.foreign_key_constraints:
            pairs = [(e.parent.name, e.target_fullname) for e in constraint.elements]
            parent = pairs[0][1].partition(".")[0]
            if parent not in GLOBAL and ("namespace", f"{parent}.namespace") not in pairs:
                found.append(f"{table.name}: reference {pairs} does not carry the namespace")
    return found


@pytest.fixture(scope="module")
def reflected(empty_file: Path) -> MetaData:
    metadata = MetaData()
    engine = create_engine(f"sqlite:///{empty_file}")
    metadata.reflect(engine)
    engine.dispose()
    return metadata


def test_every_table_of_the_models_keeps_the_rules() -> None:
    assert broken_rules(Base.metadata) == []


def test_every_table_of_the_file_keeps_the_rules(reflected: MetaData) -> None:
    assert {t.name for t in TABLES} | GLOBAL | {"alembic_version"} == set(reflected.tables)
    assert broken_rules(reflected) == []


def test_primary_keys_of_the_file_are_the_models(reflected: MetaData) -> None:
    """Which alembic does not compare."""
    for table in Base.metadata.sorted_tables:
        expected = [column.name for column in table.primary_key]
        assert [c.name for c in reflected.tables[table.name].primary_key] == expected


def test_tables_that_break_the_rules_are_found() -> None:
    metadata = MetaData()
    Table("no_namespace", metadata, Column("id", String, primary_key=True))
    Table(
        "single_reference",
        metadata,
        Column("namespace", String, primary_key=True),
        Column("id", String, primary_key=True),
        Column("other", String),
        ForeignKeyConstraint(["namespace"], ["namespaces.name"]),
        ForeignKeyConstraint(["other"], ["no_namespace.id"]),
    )
    Table("namespaces", metadata, Column("name", String, primary_key=True))
    found = " ".join(broken_rules(metadata))
    assert "no_namespace: primary key ['id']" in found
    assert "no_namespace: namespace refers to no namespace" in found
    assert "single_reference: reference [('other', 'no_namespace.id')]" in found


@pytest.fixture
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        for name in ("one", "two"):
            connection.execute("INSERT INTO namespaces VALUES (?, 0, 0, '{}')", [name])
        connection.execute("INSERT INTO blobs VALUES ('x', 1, '', 0)")
        yield connection


def row_for(table: Table, namespace: str) -> dict[str, Any]:
    """The same values everywhere; every reference names the row that this function makes."""
    row: dict[str, Any] = {}
    for column in table.columns:
        row[column.name] = 1 if isinstance(column.type, Integer) else "x"
    row["namespace"] = namespace
    if "borrower" in row:
        row["borrower"] = "two"
    if table.name in HOST_WIDE:
        row[HOST_WIDE[table.name]] = sum(namespace.encode())
    return row


def insert(connection: sqlite3.Connection, table: Table, row: dict[str, Any]) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", row)


def insert_parents(connection: sqlite3.Connection, table: Table, namespace: str) -> None:
    for parent in TABLES:
        if parent is not table:
            insert(connection, parent, row_for(parent, namespace))
        else:
            break


def count(connection: sqlite3.Connection, table: Table, namespace: str) -> int:
    query = f"SELECT count(*) FROM {table.name} WHERE namespace = ?"
    return int(connection.execute(query, [namespace]).fetchone()[0])


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_the_same_row_lives_in_two_namespaces(raw: sqlite3.Connection, table: Table) -> None:
    raw.execute("BEGIN")
    for namespace in ("one", "two"):
        insert_parents(raw, table, namespace)
        insert(raw, table, row_for(table, namespace))
    raw.execute("COMMIT")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        insert(raw, table, row_for(table, "two"))
    raw.execute(f"DELETE FROM {table.name} WHERE namespace = 'two'")
    assert (count(raw, table, "one"), count(raw, table, "two")) == (1, 0)


@pytest.mark.parametrize(("table", "constraint"), REFERENCES, ids=lambda v: str(v.name))
def test_sqlite_refuses_a_reference_into_another_namespace(
    raw: sqlite3.Connection, table: Table, constraint: ForeignKeyConstraint
) -> None:
    parent = constraint.referred_table
    insert_parents(raw, table, "one")
    insert_parents(raw, table, "two")
    row = row_for(table, "two")
    if parent is table:  # a row that refers to itself is a reference, too
        insert(raw, table, row_for(table, "one"))
        row["key"] = "y"
    else:
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute(f"DELETE FROM {parent.name} WHERE namespace = 'two'")
        raw.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        insert(raw, table, row)
    insert(raw, table, row | {"namespace": "one"})  # only the namespace was wrong


async def test_the_same_records_through_the_store(
    moby: NamespacedStore, k8s: NamespacedStore
) -> None:
    await moby.write(samples.fill)
    await k8s.write(samples.fill)
    assert await k8s.write(lambda tx: tx.execs.delete(samples.exec_().id))
    assert await k8s.write(lambda tx: tx.containers.delete(samples.container().id))
    assert await k8s.read(lambda tx: tx.containers.list()) == []
    assert len(await moby.read(lambda tx: tx.containers.list())) == 1
    assert len(await moby.read(lambda tx: tx.execs.list())) == 1


async def test_another_namespaces_row_is_as_good_as_none(
    moby: NamespacedStore, k8s: NamespacedStore
) -> None:
    await moby.write(samples.fill)
    assert await k8s.read(lambda tx: tx.containers.get(samples.container().id)) is None
    assert await k8s.read(lambda tx: tx.blobs.get(samples.digest())) is None
    assert await k8s.read(lambda tx: tx.events.since(0, 9, 9)) == []
    assert await k8s.read(lambda tx: tx.build_steps.get("b1")) is None
    assert await k8s.read(lambda tx: tx.build_caches.list()) == []
    assert not await k8s.write(lambda tx: tx.containers.delete(samples.container().id))
    assert not await k8s.write(lambda tx: tx.blobs.revoke(samples.digest()))
    for foreign in (
        lambda tx: tx.containers.add(samples.container("c2", image=2)),
        lambda tx: tx.containers.add(samples.container("c2", volume="v1")),
        lambda tx: tx.images.add(samples.image()),
        lambda tx: tx.snapshots.add(samples.snapshot("k3", "k1")),
        lambda tx: tx.endpoints.add(samples.endpoint("e2")),
        lambda tx: tx.execs.add(samples.exec_("x2")),
        lambda tx: tx.build_steps.add(samples.build_step("b2")),
    ):
        with pytest.raises(NotFound):
            await k8s.write(foreign)
