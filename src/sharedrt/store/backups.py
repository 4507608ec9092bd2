"""Consistent copies beside the file, made before it is migrated."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

KEPT = 3
"""Backups that stay: the newest ones."""


def back_up(path: Path, revision: str) -> Path:
    """Copy to ``<file>.<revision>.bak``, complete and on disk when this returns.

    Raises:
        sqlite3.Error: the source cannot be read or the copy not written; no partial copy stays.
    """
    target = path.with_name(f"{path.name}.{revision}.bak")
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        partial.touch(0o600)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        _sync(partial)
        partial.replace(target)
        _sync(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    for old in backups(path)[KEPT:]:
        old.unlink(missing_ok=True)
    return target


def backups(path: Path) -> list[Path]:
    """Newest first."""
    prefix = path.name + "."
    found = [
        entry
        for entry in path.parent.iterdir()
        if entry.name.startswith(prefix) and entry.name.endswith(".bak")
    ]
    return sorted(found, key=lambda entry: entry.stat().st_mtime_ns, reverse=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
