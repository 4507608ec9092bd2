from pathlib import Path

import pytest

from sharedrt.model.records import EventRecord
from sharedrt.model.stores import NamespacedStore, Transaction
from sharedrt.store import SqliteDatabase

from .conftest import MOBY


def append(tx: Transaction, time_ns: int) -> EventRecord:
    return tx.events.append(time_ns, "container", "start", "c1", {"name": "web"})


async def test_events_are_numbered_in_each_namespace(
    moby: NamespacedStore, k8s: NamespacedStore
) -> None:
    first = await moby.write(lambda tx: append(tx, 5))
    assert first == EventRecord(1, 5, "container", "start", "c1", {"name": "web"})
    assert (await moby.write(lambda tx: append(tx, 6))).sequence == 2
    assert (await k8s.write(lambda tx: append(tx, 7))).sequence == 1
    assert await moby.read(lambda tx: tx.events.since(0, 5, 10)) == [first]


async def test_the_bounds_are_inclusive_and_the_newest_count(moby: NamespacedStore) -> None:
    await moby.write(lambda tx: [append(tx, time_ns) for time_ns in range(1, 10)])

    async def times(since_ns: int, until_ns: int, limit: int) -> list[int]:
        found = await moby.read(lambda tx: tx.events.since(since_ns, until_ns, limit))
        return [event.time_ns for event in found]

    assert await times(3, 6, 100) == [3, 4, 5, 6]
    assert await times(3, 6, 2) == [5, 6]
    assert await times(0, 2**80, 3) == [7, 8, 9]
    assert await times(6, 3, 100) == []
    assert await times(0, 100, 0) == []
    assert await times(0, 100, -1) == []


async def test_a_use_case_that_fails_leaves_no_gap(moby: NamespacedStore) -> None:
    def failing(tx: Transaction) -> None:
        append(tx, 1)
        raise LookupError("changed its mind")

    with pytest.raises(LookupError):
        await moby.write(failing)
    assert (await moby.write(lambda tx: append(tx, 2))).sequence == 1


async def test_the_oldest_go_beyond_the_bound(moby: NamespacedStore, k8s: NamespacedStore) -> None:
    """The fixture keeps 20."""
    await k8s.write(lambda tx: append(tx, 1))
    for _ in range(5):
        await moby.write(lambda tx: [append(tx, 1) for _ in range(10)])
    kept = await moby.read(lambda tx: tx.events.since(0, 10, 1000))
    assert [event.sequence for event in kept] == list(range(31, 51))
    assert len(await k8s.read(lambda tx: tx.events.since(0, 10, 1000))) == 1


async def test_a_restart_keeps_events_and_goes_on_counting(path: Path) -> None:
    async with await SqliteDatabase.open(path, events_keep=3) as database:
        await database.within(MOBY).write(lambda tx: [append(tx, t) for t in range(5)])
    async with await SqliteDatabase.open(path, events_keep=2) as database:
        moby = database.within(MOBY)
        assert (await moby.write(lambda tx: append(tx, 9))).sequence == 6
        kept = await moby.read(lambda tx: tx.events.since(0, 10, 10))
        assert [event.sequence for event in kept] == [5, 6]
