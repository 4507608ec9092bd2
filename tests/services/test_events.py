"""Events over the real store: after commit, in order, without gap or repeat, bounded."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharedrt.model.faults import ResourceExhausted
from sharedrt.model.ids import DOCKER_NAMESPACE, K8S_NAMESPACE
from sharedrt.model.stores import Transaction
from sharedrt.services.events import MAX_LAG, EventBus, NamespacedEvents, NewEvent
from sharedrt.store.database import SqliteDatabase


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with await SqliteDatabase.open(tmp_path / "test.db") as opened:
        yield opened


async def test_stored_then_live_without_gap_or_repeat(database: SqliteDatabase) -> None:
    events = NamespacedEvents(database.within(DOCKER_NAMESPACE), EventBus())
    await events.publish("container", "create", "c1", {"name": "web"})
    async with events.subscribe(since_ns=1) as stream:
        await events.publish("container", "start", "c1", {})
        first, second = await anext(stream), await anext(stream)
    assert (first.action, second.action) == ("create", "start")
    assert first.attributes == {"name": "web"}
    assert second.sequence > first.sequence


async def test_either_bound_asks_for_what_is_stored(database: SqliteDatabase) -> None:
    events = NamespacedEvents(database.within(DOCKER_NAMESPACE), EventBus())
    await events.publish("container", "create", "c1", {})
    async with events.subscribe(since_ns=0) as stream:
        assert (await anext(stream)).action == "create"
    async with events.subscribe(until_ns=time.time_ns()) as stream:
        assert [event.action async for event in stream] == ["create"]
    async with events.subscribe(until_ns=0) as stream:
        assert [event.action async for event in stream] == []


async def test_one_namespace_never_hears_of_another(database: SqliteDatabase) -> None:
    bus = EventBus()
    moby = NamespacedEvents(database.within(DOCKER_NAMESPACE), bus)
    k8s = NamespacedEvents(database.within(K8S_NAMESPACE), bus)
    async with moby.subscribe(since_ns=1) as stream:
        await k8s.publish("container", "create", "foreign", {})
        await moby.publish("container", "create", "own", {})
        assert (await anext(stream)).actor == "own"
    async with moby.subscribe(since_ns=1, until_ns=time.time_ns()) as stream:
        assert [event.actor async for event in stream] == ["own"]


async def test_a_failed_change_tells_nobody(database: SqliteDatabase) -> None:
    events = NamespacedEvents(database.within(DOCKER_NAMESPACE), EventBus())

    def fail(tx: Transaction) -> None:
        raise KeyError("no")

    with pytest.raises(KeyError):
        await events.commit(fail, NewEvent("container", "create", "c1"))
    async with events.subscribe(since_ns=1, until_ns=time.time_ns()) as stream:
        assert [event async for event in stream] == []


async def test_until_ends_a_live_subscription(database: SqliteDatabase) -> None:
    events = NamespacedEvents(database.within(DOCKER_NAMESPACE), EventBus())
    async with events.subscribe(until_ns=time.time_ns() + 50_000_000) as stream:
        assert [event async for event in stream] == []


async def test_a_lagging_subscriber_is_ended_after_what_it_was_owed(
    database: SqliteDatabase,
) -> None:
    events = NamespacedEvents(database.within(DOCKER_NAMESPACE), EventBus())
    async with events.subscribe() as stream:
        async with asyncio.TaskGroup() as group:
            for number in range(MAX_LAG + 1):
                group.create_task(events.publish("container", "create", str(number), {}))
        seen = [await anext(stream)]
        await events.publish("container", "create", "behind the gap", {})

        async def read_on() -> None:
            async for event in stream:
                seen.append(event)  # noqa: PERF401  until it ends

        with pytest.raises(ResourceExhausted):
            await read_on()
    assert len(seen) == MAX_LAG
    sequences = [event.sequence for event in seen]
    assert sequences == list(range(sequences[0], sequences[0] + MAX_LAG))
