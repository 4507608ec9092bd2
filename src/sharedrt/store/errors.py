"""SQLite's errors as faults. This is where they enter; none of SQLAlchemy's classes goes further up."""

import sqlite3

from sqlalchemy.exc import SQLAlchemyError

from sharedrt.model.faults import (
    DataLoss,
    Fault,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)

_PRIMARY_CODE = 0xFF
"""Extended result codes keep the primary one in their low byte (https://www.sqlite.org/rescode.html)."""


def database_fault(error: BaseException) -> Fault | None:
    """The fault for an error that the database raised; None for what is not the database's."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, (UnicodeEncodeError, OverflowError)) and isinstance(
        error, SQLAlchemyError
    ):
        return InvalidArgument("value", str(cause), "it does not fit a column of the database")
    if not isinstance(cause, sqlite3.Error):
        return Internal("database", str(error)) if isinstance(error, SQLAlchemyError) else None
    reason = str(cause)
    match getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE:
        case sqlite3.SQLITE_FULL:
            return ResourceExhausted("disk of the database", reason)
        case sqlite3.SQLITE_NOMEM:
            return ResourceExhausted("memory", reason)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable("database", reason)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DataLoss("database", reason)
        case sqlite3.SQLITE_TOOBIG:
            return InvalidArgument("value", "", reason)
        case sqlite3.SQLITE_READONLY:
            return Internal(
                "database", f"a read tried to write, or the file is read-only: {reason}"
            )
        case _:
            return Internal("database", reason)
