"""Which revision a file has, and how it gets to this program's.

Alembic costs a third of a second and 11 MiB to import, so it is left out when the file is already at
``HEAD``; that this constant is the newest of ``migrations/`` is proven by a test.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

import sharedrt
from sharedrt.model.faults import DataLoss, FailedPrecondition, Internal
from sharedrt.store.backups import back_up
from sharedrt.store.connections import open_migrator
from sharedrt.store.errors import database_fault, primary_code

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

HEAD = "0003"


def bring_to_head(path: Path, migrations: Path | None = None) -> None:
    """Make the file, or migrate it, with a backup of what it was before.

    Raises:
        FailedPrecondition: the file is not ours, or a newer program's.
        DataLoss: the file is damaged.
        ResourceExhausted: no space for the backup or the migration; the file is as it was.
    """
    try:
        current = current_revision(path)
        if current == HEAD:
            return
        folder = migrations or find_migrations()
        if current is not None:
            _refuse_unknown(path, current, folder)
            back_up(path, current)
        migrate(path, HEAD, folder)
    except sqlite3.DatabaseError as error:
        if primary_code(error) == sqlite3.SQLITE_NOTADB:
            raise FailedPrecondition("database", str(path), "not a SQLite database") from error
        raise
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None)
        if isinstance(cause, sqlite3.Error):
            raise database_fault(cause, f"database {path}") from error
        raise Internal(f"database {path}", str(error)) from error


def current_revision(path: Path) -> str | None:
    """The file's revision; None for a file that is missing or empty.

    Raises:
        FailedPrecondition: something else's database.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if not tables:
            return None
        if "alembic_version" not in tables:
            raise FailedPrecondition("database", str(path), "another program's SQLite database")
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None


def find_migrations() -> Path:
    """The packaged copy, or else the one at the top of the source tree."""
    package = Path(sharedrt.__file__).parent
    for folder in (package / "_migrations", package.parent.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise Internal("database", f"the migrations are missing from {package}")


def migrate(path: Path, revision: str, migrations: Path) -> None:
    """Up or down to ``revision`` (``base`` for nothing) in one transaction, references checked at its end."""
    from alembic import command
    from alembic.script import ScriptDirectory

    _make_private(path)
    connection = open_migrator(path)
    try:
        config = alembic_config(migrations, connection)
        known = [s.revision for s in ScriptDirectory.from_config(config).walk_revisions()]
        at = _revision_in(connection)
        if at is not None and (revision == "base" or known.index(at) < known.index(revision)):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise DataLoss(f"database {path}", f"a migration broke a reference: {broken}")
        connection.commit()
    finally:
        connection.close()


def alembic_config(migrations: Path, connection: "Connection | None" = None) -> "Config":
    """What alembic's commands need; ``env.py`` uses the connection instead of opening one."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _refuse_unknown(path: Path, current: str, migrations: Path) -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(alembic_config(migrations))
    known = {s.revision for s in script.walk_revisions()}
    if current not in known:
        reason = (
            f"database is newer than this program (its revision is {current}, the newest known here"
            f" is {HEAD}); start the newer program, or restore the backup beside the file"
        )
        raise FailedPrecondition("database", str(path), reason)


def _revision_in(connection: "Connection") -> str | None:
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _make_private(path: Path) -> None:
    """It holds environment variables and pull credentials' traces: root's alone. WAL files take its mode."""
    path.touch(0o600)
