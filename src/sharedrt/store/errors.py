"""SQLite's errors as faults. This is where they enter; no class of a database library goes further up."""

import sqlite3

from sharedrt.model.faults import (
    DataLoss,
    Fault,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)


def primary_code(error: sqlite3.Error) -> int:
    """Extended result codes keep the primary one in their low byte (https://www.sqlite.org/rescode.html)."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def database_fault(error: sqlite3.Error, name: str = "database") -> Fault:
    """The fault for an error that SQLite raised."""
    reason = str(error)
    match primary_code(error):
        case sqlite3.SQLITE_FULL:
            return ResourceExhausted(f"disk of the {name}", f"no space left: {reason}")
        case sqlite3.SQLITE_NOMEM:
            return ResourceExhausted(f"memory for the {name}", reason)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable(name, reason)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DataLoss(name, reason)
        case sqlite3.SQLITE_TOOBIG:
            return InvalidArgument("value", "", reason)
        case sqlite3.SQLITE_READONLY:
            return Internal(name, f"a read tried to write, or the file is read-only: {reason}")
        case _:
            return Internal(name, reason)
