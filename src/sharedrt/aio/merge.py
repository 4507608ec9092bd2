"""Several async iterators as one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def merged(*sources: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Items of all sources as they come; ends when all have ended, fails when one fails.

    Closing it (``contextlib.aclosing``) cancels what the sources wait for. At most one item a source is held
    that nobody has taken.
    """
    loop = asyncio.get_running_loop()
    waiting: dict[asyncio.Task[T], AsyncIterator[T]] = {}

    async def advance(source: AsyncIterator[T]) -> T:
        return await anext(source)

    def ask(source: AsyncIterator[T]) -> None:
        waiting[loop.create_task(advance(source))] = source

    for source in sources:
        ask(source)
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source = waiting.pop(task)
                try:
                    item = task.result()
                except StopAsyncIteration:
                    continue
                ask(source)
                yield item
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
