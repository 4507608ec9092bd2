"""Connections to the file: how SQLite is set, and who begins transactions.

Python's sqlite3 begins transactions by itself, and only before some statements; savepoints and consistent
reads need to know better, so it is told to leave them alone (``isolation_level=None``) and SQLAlchemy's
"begin" event issues BEGIN.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from sharedrt.model.codec import compact_json

BUSY_TIMEOUT_S = 5.0
"""Only foreign tools (a shell, a backup) can hold the file against the one writer; wait so long for them."""

WAL_LIMIT_BYTES = 64 << 20
"""After a checkpoint the log file is cut back to this."""


def open_writer(path: Path) -> Connection:
    """The one connection that writes: durable at COMMIT, foreign keys enforced."""
    pragmas = (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        f"journal_size_limit={WAL_LIMIT_BYTES}",
    )
    return _open(lambda: _connect(path, "rw", pragmas), "BEGIN IMMEDIATE")


def open_reader(path: Path) -> Connection:
    """A connection that cannot write; what it reads between begin and commit is one state."""
    return _open(lambda: _connect(path, "ro", ("query_only=ON", "trusted_schema=OFF")), "BEGIN")


def open_migrator(path: Path) -> Connection:
    """For migrations: foreign keys off, since altering a table rebuilds it. Makes the file if need be."""
    return _open(lambda: _connect(path, "rwc", ("foreign_keys=OFF",)), "BEGIN IMMEDIATE")


def _connect(path: Path, mode: str, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # used by one thread at a time, but closed by another
    )
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _open(connect: Callable[[], sqlite3.Connection], begin: str) -> Connection:
    engine: Engine = create_engine(
        "sqlite://", creator=connect, poolclass=NullPool, json_serializer=compact_json
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine.connect()


def driver_connection(connection: Connection) -> sqlite3.Connection:
    """The sqlite3 connection below, for statements that SQLAlchemy has no business with."""
    found: Any = connection.connection.driver_connection
    if not isinstance(found, sqlite3.Connection):
        raise TypeError(f"not a connection of sqlite3: {found!r}")
    return found
