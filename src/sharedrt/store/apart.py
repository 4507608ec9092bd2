"""Migration in a child process, whose end gives back what alembic costs in memory (14 MiB)."""

import os
import sqlite3
from pathlib import Path

from sharedrt.model.faults import Fault
from sharedrt.store.file_lock import FileLock
from sharedrt.store.revisions import HEAD, bring_to_head, current_revision


def migrate_apart(path: Path, migrations: Path | None = None) -> None:
    """Bring the file to this program's revision where it is not there yet. Blocks.

    Call it before the process has threads or a loop: it forks. How it went is not told, for whoever opens
    the file does what is still to be done, and raises what stands against it.
    """
    try:
        if current_revision(path) == HEAD:
            return
    except (Fault, OSError, sqlite3.Error):
        return
    child = os.fork()
    if child == 0:
        try:
            lock = FileLock(path)
            bring_to_head(path, migrations)
            lock.release()
        finally:
            # Nothing of the parent's is to be run here: no exit handlers, no traceback.
            os._exit(0)
    os.waitpid(child, 0)
