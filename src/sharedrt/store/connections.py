"""Connections to the file, and how SQLite is set.

Python's sqlite3 begins transactions by itself, and only before some statements; savepoints and consistent
reads need to know better, so it is told to leave them alone (``isolation_level=None``).
"""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine

BUSY_TIMEOUT_S = 5.0
"""Only foreign tools (a shell, a backup) can hold the file against the one writer; wait so long for them."""

WAL_LIMIT_BYTES = 64 << 20
"""After a checkpoint the log file is cut back to this."""


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes: durable at COMMIT, foreign keys enforced."""
    return _connect(
        path,
        "rw",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        f"journal_size_limit={WAL_LIMIT_BYTES}",
    )


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; what it reads between BEGIN and the end is one state."""
    return _connect(path, "ro", "query_only=ON", "trusted_schema=OFF")


def open_migrator(path: Path) -> Connection:
    """For alembic, in a transaction that the caller commits by ``COMMIT`` on its own.

    Foreign keys are off, since altering a table in SQLite means to rebuild it.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, "rwc", "foreign_keys=OFF"),
        poolclass=NullPool,
    )
    connection = engine.connect()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    return connection


def _connect(path: Path, mode: str, *pragmas: str) -> sqlite3.Connection:
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
