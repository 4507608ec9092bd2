import sqlite3

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, select

from sharedrt.model.faults import InvalidArgument
from sharedrt.store.statements import Statement

TABLE = Table("t", MetaData(), Column("id", Integer), Column("name", String))


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER, name TEXT)")
    return connection


def test_values_from_the_building_and_from_the_call(connection: sqlite3.Connection) -> None:
    add = Statement(insert(TABLE))
    for number in range(3):
        add(connection, id=number, name=None if number else "zero")
    found = Statement(select(TABLE.c.name).where(TABLE.c.id == bindparam("a"), TABLE.c.id < 2))
    assert found(connection, a=0).fetchall() == [("zero",)]
    assert found(connection, a=1).fetchall() == [(None,)]
    assert found(connection, a=2).fetchall() == []
    connection.close()


def test_a_missing_value_is_an_error_not_a_null(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.ProgrammingError):
        Statement(insert(TABLE))(connection, id=1)
    connection.close()


@pytest.mark.parametrize("value", ["\udc80", 2**63])
def test_what_sqlite_cannot_hold(connection: sqlite3.Connection, value: str | int) -> None:
    with pytest.raises(InvalidArgument):
        Statement(insert(TABLE))(connection, id=1, name=value)
    connection.close()
