"""Migrations: up and down with data in, agreement with the models, and what may not be opened."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sharedrt.model.faults import DataLoss, FailedPrecondition
from sharedrt.store import SqliteDatabase
from sharedrt.store.backups import backups
from sharedrt.store.connections import open_migrator
from sharedrt.store.models import Base
from sharedrt.store.revisions import (
    HEAD,
    alembic_config,
    bring_to_head,
    current_revision,
    find_migrations,
    migrate,
)

from . import samples
from .conftest import K8S, MOBY

MIGRATIONS = find_migrations()
Content = dict[str, list[tuple[Any, ...]]]


def content(path: Path) -> Content:
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'alembic_version'"
        ).fetchall()
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for (name,) in tables
        }


async def filled(path: Path) -> None:
    async with await SqliteDatabase.open(path) as database:
        for namespace in (MOBY, K8S):
            await database.within(namespace).write(samples.fill)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO image_shares VALUES ('moby', 'k8s.io', 'app/*', 1)")
        connection.execute("INSERT INTO published_ports VALUES ('moby', 'tcp', 80, '', 'e1')")


@contextmanager
def migrator(path: Path) -> Iterator[Any]:
    connection = open_migrator(path)
    try:
        yield connection
    finally:
        connection.close()


def revisions() -> list[str]:
    """Oldest first."""
    script = ScriptDirectory.from_config(alembic_config(MIGRATIONS))
    return [revision.revision for revision in script.walk_revisions()][::-1]


def test_head_is_the_newest_revision() -> None:
    script = ScriptDirectory.from_config(alembic_config(MIGRATIONS))
    assert script.get_heads() == [HEAD]
    assert len(revisions()) >= 2


def test_models_and_migrations_agree(path: Path) -> None:
    with migrator(path) as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_disagreement_would_be_seen(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX ix_endpoints_namespace_owner")
    with migrator(path) as connection:
        context = MigrationContext.configure(connection)
        assert [entry[0] for entry in compare_metadata(context, Base.metadata)] == ["add_index"]


async def test_from_the_first_revision_to_the_newest_and_back_with_data(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await filled(path)
    full = content(path)
    assert all(full.values()), "a table without a row proves nothing"
    first, newest = revisions()[0], revisions()[-1]

    migrate(path, first, MIGRATIONS)
    assert current_revision(path) == first
    oldest = content(path)
    assert oldest == {name: rows for name, rows in full.items() if name in oldest}
    assert set(full) - set(oldest) == {
        "build_caches",
        "build_step_layers",
        "build_steps",
        "image_shares",
        "operations",
    }

    bring_to_head(path)
    assert current_revision(path) == newest
    again = content(path)
    assert again == {name: full[name] if name in oldest else [] for name in full}
    async with await SqliteDatabase.open(path) as database:
        moby = database.within(MOBY)
        assert len(await moby.read(lambda tx: tx.containers.list())) == 1
        assert (await moby.write(lambda tx: tx.events.append(1, "a", "b", "c", {}))).sequence == 2

    migrate(path, first, MIGRATIONS)
    assert set(content(path)) == set(oldest)
    migrate(path, "base", MIGRATIONS)
    assert content(path) == {}
    bring_to_head(path)
    assert current_revision(path) == newest


def test_a_migration_that_breaks_a_reference_is_taken_back(path: Path, tmp_path: Path) -> None:
    scripts = broken_migrations(tmp_path, "op.execute('DELETE FROM namespaces')")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO namespaces VALUES ('moby', 0, 0, '{}')")
        connection.execute("INSERT INTO volumes VALUES ('moby', 'v', 0, '{}')")
    before = content(path)
    with pytest.raises(DataLoss, match="broke a reference"):
        migrate(path, "9999", scripts)
    assert content(path) == before
    assert current_revision(path) == HEAD


def test_a_migration_that_fails_half_way_is_taken_back(path: Path, tmp_path: Path) -> None:
    body = "op.drop_table('leases')\n    op.execute('SELECT * FROM nowhere')"
    scripts = broken_migrations(tmp_path, body)
    before = content(path)
    with pytest.raises(Exception, match="nowhere"):
        migrate(path, "9999", scripts)
    assert content(path) == before
    assert current_revision(path) == HEAD


def broken_migrations(tmp_path: Path, body: str) -> Path:
    scripts = tmp_path / "scripts"
    (scripts / "versions").mkdir(parents=True)
    for source in (MIGRATIONS / "env.py", *MIGRATIONS.glob("versions/*.py")):
        (scripts / source.relative_to(MIGRATIONS)).write_bytes(source.read_bytes())
    (scripts / "versions" / "9999_broken.py").write_text(
        f"from alembic import op\nrevision = '9999'\ndown_revision = {HEAD!r}\n"
        f"def upgrade():\n    {body}\n"
    )
    return scripts


async def test_an_older_file_is_backed_up_before_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "db"
    await filled(path)
    migrate(path, "0001", MIGRATIONS)
    old = content(path)
    async with await SqliteDatabase.open(path):
        pass
    assert [backup.name for backup in backups(path)] == ["db.0001.bak"]
    assert content(backups(path)[0]) == old
    assert current_revision(backups(path)[0]) == "0001"
    async with await SqliteDatabase.open(path):
        pass
    assert len(backups(path)) == 1  # nothing to migrate, nothing to back up


async def test_a_newer_file_is_refused_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = content(path)
    with pytest.raises(FailedPrecondition, match="database is newer than this program") as caught:
        await SqliteDatabase.open(path)
    assert "9999" in str(caught.value)
    assert content(path) == before
    assert current_revision(path) == "9999"
    assert backups(path) == []


async def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database, by far\n" * 100)
    with pytest.raises(FailedPrecondition, match="not a SQLite database"):
        await SqliteDatabase.open(text)
    other = tmp_path / "other"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(FailedPrecondition, match="another program"):
        await SqliteDatabase.open(other)


def overwrite(path: Path) -> None:
    """All but the first page, which has the header."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


async def test_a_damaged_file_is_data_loss(path: Path) -> None:
    overwrite(path)
    with pytest.raises(DataLoss):
        await SqliteDatabase.open(path)


def modes(folder: Path) -> dict[str, int]:
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()}


async def test_an_empty_file_is_filled_and_private(tmp_path: Path) -> None:
    path = tmp_path / "db%20 with ?strange# name"
    async with await SqliteDatabase.open(path) as database:
        await database.within(MOBY).write(samples.fill)
        assert modes(tmp_path) == dict.fromkeys(
            (f"{path.name}{end}" for end in ("", "-shm", "-wal", ".lock")), 0o600
        )


def test_alembic_is_not_imported_for_a_file_at_head(path: Path) -> None:
    code = (
        "import asyncio, pathlib, sys\n"
        "from sharedrt.store import SqliteDatabase\n"
        "async def main():\n"
        "    async with await SqliteDatabase.open(pathlib.Path(sys.argv[1])):\n"
        "        pass\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith(('alembic', 'mako'))])\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    )
    assert shown.stdout == "[]\n"


def test_developers_name_a_file(path: Path) -> None:
    """The alembic command line, with its settings in pyproject.toml."""
    root = MIGRATIONS.parent
    command = [sys.executable, "-m", "alembic", "-x", f"database={path}", "check"]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    refused = subprocess.run(
        [*command[:3], "current"], cwd=root, check=False, capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert "name the database file" in refused.stderr
