"""SQLAlchemy writes the SQL, sqlite3 runs it.

A statement is built from the models and compiled once. Handing the text to sqlite3 then costs a few
microseconds, where SQLAlchemy's own execution takes 50 or more for each run; the writer is one thread, so
that is the difference between 2,000 and 10,000 writes a second.
"""

import sqlite3
from functools import cached_property

from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql import ClauseElement

from sharedrt.model.faults import InvalidArgument

_DIALECT = SQLiteDialect_pysqlite(paramstyle="named")

Value = str | int | None
"""What a column takes and gives. A JSON column is text here, see ``model.codec.compact_json``."""


class Statement:
    """A statement with named parameters."""

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause

    def __call__(self, connection: sqlite3.Connection, /, **values: Value) -> sqlite3.Cursor:
        """Run it. ``values`` are added to those that the statement has from its building.

        Raises:
            sqlite3.Error: which the writer and the readers turn into faults, if nobody before them does.
            InvalidArgument: a text is no Unicode, or a number has more than 64 bits.
        """
        sql, fixed = self._compiled
        try:
            return connection.execute(sql, {**fixed, **values} if fixed else values)
        except (UnicodeEncodeError, OverflowError) as error:
            raise InvalidArgument("value", str(error), "it does not fit the database") from error

    @cached_property
    def _compiled(self) -> tuple[str, dict[str, Value]]:
        compiled = self._clause.compile(dialect=_DIALECT)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return str(compiled), fixed
