import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sharedrt.store.backups import KEPT, back_up, backups


def make(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (1)")


def test_a_backup_has_what_is_only_in_the_wal(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make(path)
    with closing(sqlite3.connect(path)) as connection:
        with connection:
            connection.execute("INSERT INTO t VALUES (2)")
        copy = back_up(path, "0001")
    assert copy == tmp_path / "db.0001.bak"
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(1,), (2,)]


def test_the_newest_stay(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make(path)
    for number in range(KEPT + 2):
        made = back_up(path, f"{number:04}")
        os.utime(made, (number, number))
    assert [p.name for p in backups(path)] == ["db.0004.bak", "db.0003.bak", "db.0002.bak"]
    assert len(backups(path)) == KEPT


def test_a_failed_backup_leaves_nothing_and_keeps_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make(path)
    older = back_up(path, "0001")
    path.write_bytes(b"damaged" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        back_up(path, "0001")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["db", older.name]
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_other_files_beside_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make(path)
    for name in ("db2.0001.bak", "db.0001.bak.old"):
        (tmp_path / name).touch()
    for number in range(KEPT + 1):
        back_up(path, str(number))
    assert (tmp_path / "db2.0001.bak").exists()
    assert (tmp_path / "db.0001.bak.old").exists()
