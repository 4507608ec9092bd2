"""Alembic's entry: the daemon hands over its connection; a developer names a file with ``-x database=FILE``.

The caller's transaction is used, so all revisions of one run come or go together.
"""

from pathlib import Path

from alembic import context
from sqlalchemy import Connection

from sharedrt.store.connections import open_migrator
from sharedrt.store.models import Base


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters most things only by rebuilding the table
        transactional_ddl=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_on_named_file() -> None:
    name = context.get_x_argument(as_dictionary=True).get("database")
    if not isinstance(name, str) or not name:
        raise SystemExit("name the database file: alembic -x database=FILE ...")
    connection = open_migrator(Path(name))
    try:
        run(connection)
        connection.commit()
    finally:
        connection.close()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    run_on_named_file()
