"""Locks by key: calls about one object queue, others pass; nothing is kept."""

import asyncio

from sharedrt.aio.locks import KeyedLocks


async def test_same_key_queues_other_keys_pass() -> None:
    locks = KeyedLocks()
    order: list[str] = []
    gate = asyncio.Event()

    async def first() -> None:
        async with locks.hold("a"):
            order.append("first in")
            await gate.wait()
            order.append("first out")

    async def second() -> None:
        async with locks.hold("a"):
            order.append("second")

    async with asyncio.TaskGroup() as group:
        group.create_task(first())
        await asyncio.sleep(0)
        group.create_task(second())
        await asyncio.sleep(0)
        async with locks.hold("b"):
            order.append("other key")
        gate.set()
    assert order == ["first in", "other key", "first out", "second"]


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    locks = KeyedLocks()
    async with locks.hold("a"):
        async with asyncio.TaskGroup() as group:
            waiter = group.create_task(locks.hold("a").__aenter__())
            await asyncio.sleep(0)
            waiter.cancel()
        assert list(locks._locks) == ["a"]
    assert not locks._locks
    assert not locks._users
