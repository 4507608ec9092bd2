import asyncio
import threading
from typing import Any

import pytest

from sharedrt.model.faults import Internal
from sharedrt.model.records import VolumeRecord
from sharedrt.model.stores import NamespacedStore, Transaction

from . import samples


async def test_a_read_sees_what_was_acknowledged(moby: NamespacedStore) -> None:
    async def write_then_read(record: VolumeRecord) -> None:
        await moby.write(lambda tx: tx.volumes.add(record))
        assert await moby.read(lambda tx: tx.volumes.get(record.name)) == record

    for number in range(20):
        await write_then_read(VolumeRecord(f"v{number}"))


@pytest.mark.parametrize(
    "write",
    [
        lambda tx: tx.volumes.add(VolumeRecord("v")),
        lambda tx: tx.volumes.delete("v"),
        lambda tx: tx.blobs.grant(samples.blob()),
        lambda tx: tx.events.append(1, "a", "b", "c", {}),
    ],
)
async def test_a_read_cannot_write(moby: NamespacedStore, write: Any) -> None:
    with pytest.raises(Internal, match="a read tried to write"):
        await moby.read(write)
    assert await moby.read(lambda tx: tx.volumes.list()) == []


async def test_a_read_is_of_one_state_while_writes_go_on(moby: NamespacedStore) -> None:
    began, wrote = threading.Event(), threading.Event()

    def read(tx: Transaction) -> tuple[int, int]:
        before = len(tx.volumes.list())
        began.set()
        assert wrote.wait(30)
        return before, len(tx.volumes.list())

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(moby.read(read))
        await asyncio.to_thread(began.wait, 30)
        await moby.write(lambda tx: tx.volumes.add(VolumeRecord("v")))
        wrote.set()
    assert reading.result() == (0, 0)
    assert len(await moby.read(lambda tx: tx.volumes.list())) == 1


async def test_an_error_of_the_use_case_reaches_its_caller(moby: NamespacedStore) -> None:
    def failing(tx: Transaction) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await moby.read(failing)
    assert await moby.read(lambda tx: tx.volumes.list()) == []  # no transaction was left open


async def test_many_reads_at_once(moby: NamespacedStore) -> None:
    await moby.write(samples.fill)
    found = await asyncio.gather(*(moby.read(lambda tx: tx.containers.list()) for _ in range(100)))
    assert all(len(containers) == 1 for containers in found)
