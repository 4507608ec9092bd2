"""Run as a process: writes without end, and prints each name once its write was acknowledged."""

import asyncio
import itertools
import os
import sys
from functools import partial
from pathlib import Path

from sharedrt.model.ids import Namespace
from sharedrt.model.records import EventRecord, VolumeRecord
from sharedrt.model.stores import Transaction
from sharedrt.store import SqliteDatabase


async def main(path: Path) -> None:
    async with await SqliteDatabase.open(path) as database, asyncio.TaskGroup() as tasks:
        for name in ("moby", "k8s.io", "team"):
            for number in range(8):
                tasks.create_task(write(database, Namespace(name), f"{os.getpid()}-{number}"))


def create(record: VolumeRecord, tx: Transaction) -> EventRecord:
    tx.volumes.add(record)
    return tx.events.append(1, "volume", "create", record.name, {})


async def write(database: SqliteDatabase, namespace: Namespace, prefix: str) -> None:
    store = database.within(namespace)
    for number in itertools.count():
        record = VolumeRecord(f"{prefix}-{number}", labels={"fill": "x" * (number % 5000)})
        event = await store.write(partial(create, record))
        os.write(1, f"{namespace} {record.name} {event.sequence}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
