import os
import subprocess
import sys
from pathlib import Path

import pytest

from sharedrt.model.faults import FailedPrecondition
from sharedrt.store import SqliteDatabase
from sharedrt.store.file_lock import FileLock


async def test_a_second_daemon_is_refused_and_told_who_was_first(path: Path) -> None:
    async with await SqliteDatabase.open(path):
        with pytest.raises(FailedPrecondition) as caught:
            await SqliteDatabase.open(path)
        assert str(path) in str(caught.value)
        assert f"pid {os.getpid()}" in str(caught.value)
    async with await SqliteDatabase.open(path):
        pass


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    database = tmp_path / "db"
    code = (
        "import os, signal, sys, pathlib\n"
        "from sharedrt.store.file_lock import FileLock\n"
        "lock = FileLock(pathlib.Path(sys.argv[1]))\n"
        "print('held', flush=True)\n"
        "signal.pause()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, database],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FailedPrecondition, match=f"pid {holder.pid}"):
            FileLock(database)
    finally:
        holder.kill()
        holder.communicate()
    FileLock(database).release()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="folder is missing"):
        FileLock(tmp_path / "missing" / "db")


def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "db")
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        lock.release()
        FileLock(tmp_path / "db").release()
    finally:
        child.kill()
        child.wait()
