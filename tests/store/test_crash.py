"""kill -9 at any instant: nothing that was acknowledged is lost, nothing is half there."""

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from sharedrt.model.ids import Namespace
from sharedrt.store import SqliteDatabase

from . import crashing_writer

ROUNDS = 6


def run_and_kill(path: Path, acknowledgements: int) -> set[tuple[str, str, int]]:
    process = subprocess.Popen(
        [sys.executable, crashing_writer.__file__, path],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(acknowledgements)]
    finally:
        process.kill()
    lines += process.communicate()[0].splitlines(keepends=True)
    whole = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return {(namespace, name, int(sequence)) for namespace, name, sequence in whole}


async def test_nothing_acknowledged_is_lost(path: Path) -> None:
    acknowledged: set[tuple[str, str, int]] = set()
    for _ in range(ROUNDS):
        acknowledged |= run_and_kill(path, random.randint(1, 600))
    assert len(acknowledged) > ROUNDS
    async with await SqliteDatabase.open(path) as database:
        for namespace in ("moby", "k8s.io", "team"):
            store = database.within(Namespace(namespace))
            volumes = {v.name for v in await store.read(lambda tx: tx.volumes.list())}
            events = await store.read(lambda tx: tx.events.since(0, 9, 10**6))
            created = {(event.actor, event.sequence) for event in events}
            mine = {(name, seq) for ns, name, seq in acknowledged if ns == namespace}
            assert {name for name, _ in mine} <= volumes
            assert mine <= created
            assert {name for name, _ in created} == volumes  # both or neither
            assert sorted(seq for _, seq in created) == list(range(1, len(created) + 1))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
