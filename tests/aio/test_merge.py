"""Several iterators as one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from sharedrt.aio.merge import merged


async def counting(*numbers: int) -> AsyncIterator[int]:
    for number in numbers:
        await asyncio.sleep(0)
        yield number


async def test_all_items_in_the_order_of_each() -> None:
    found = [item async for item in merged(counting(1, 2, 3), counting(10, 20), counting())]
    assert sorted(found) == [1, 2, 3, 10, 20]
    assert [n for n in found if n < 10] == [1, 2, 3]


async def test_nothing_at_all() -> None:
    nothing: AsyncGenerator[int, None] = merged()
    assert [item async for item in nothing] == []


async def test_a_failure_ends_it_and_the_others() -> None:
    ended = asyncio.Event()

    async def silent() -> AsyncIterator[int]:
        try:
            await asyncio.Event().wait()
            yield 1
        finally:
            ended.set()

    async def failing() -> AsyncIterator[int]:
        yield 1
        raise ValueError("x")

    items = merged(silent(), failing())
    assert await anext(items) == 1
    with pytest.raises(ValueError, match="x"):
        await anext(items)
    assert ended.is_set()


async def test_closing_ends_the_sources() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with aclosing(merged(endless())) as items:
        assert await anext(items) == 1
        await asyncio.sleep(0)
    assert ended.is_set()
