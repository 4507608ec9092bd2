"""Migration in a child. Each case forks, so it runs in a process of its own without threads."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sharedrt.model.faults import FailedPrecondition
from sharedrt.store import SqliteDatabase
from sharedrt.store.file_lock import FileLock
from sharedrt.store.revisions import HEAD, bring_to_head, current_revision

_PROGRAM = """
import sys
from pathlib import Path
from sharedrt.store import migrate_apart
migrate_apart(Path(sys.argv[1]))
print("alembic" in sys.modules)
"""


def migrate(path: Path) -> str:
    """What it prints: whether alembic is in the process that asked."""
    command = [sys.executable, "-c", _PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_a_new_file_is_made_and_alembic_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert migrate(path) == "False"
    assert current_revision(path) == HEAD
    assert migrate(path) == "False", "there was nothing to do"
    FileLock(path).release()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_another_holds_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    lock = FileLock(path)
    assert migrate(path) == "False"
    assert not path.exists()
    lock.release()


async def test_what_stands_against_it_is_said_by_the_opening(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    bring_to_head(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert migrate(path) == "False"
    assert current_revision(path) == "9999"
    with pytest.raises(FailedPrecondition, match="newer"):
        await SqliteDatabase.open(path)
