import sqlite3

import pytest

from sharedrt.model import faults
from sharedrt.store.errors import database_fault


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (sqlite3.SQLITE_FULL, faults.ResourceExhausted),
        (sqlite3.SQLITE_NOMEM, faults.ResourceExhausted),
        (sqlite3.SQLITE_BUSY, faults.Unavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, faults.Unavailable),
        (sqlite3.SQLITE_CORRUPT, faults.DataLoss),
        (sqlite3.SQLITE_CORRUPT_INDEX, faults.DataLoss),
        (sqlite3.SQLITE_NOTADB, faults.DataLoss),
        (sqlite3.SQLITE_TOOBIG, faults.InvalidArgument),
        (sqlite3.SQLITE_READONLY, faults.Internal),
        (sqlite3.SQLITE_IOERR_FSYNC, faults.Internal),
        (sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY, faults.Internal),
    ],
)
def test_codes(code: int, fault: type[faults.Fault]) -> None:
    error = sqlite3.OperationalError("the words")
    error.sqlite_errorcode = code
    made = database_fault(error)
    assert type(made) is fault
    assert "the words" in str(made)


def test_an_error_without_a_code() -> None:
    assert isinstance(database_fault(sqlite3.ProgrammingError("closed")), faults.Internal)
