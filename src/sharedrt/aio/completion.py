"""Work that a cancelled caller must not leave behind half done."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end whatever happens; a cancellation that came meanwhile is raised after it.

    For clean-up and for steps whose lock must be held until they are over. The work's own failure is
    raised instead of the cancellation's, so that it is not lost.
    """
    task = asyncio.get_running_loop().create_task(coroutine)
    return await _outlast(task)


async def run_blocking(
    executor: Executor | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call a function on a thread (``None``: of the loop's own pool), and wait for its end even when
    cancelled, since a thread cannot be stopped."""

    def call() -> T:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:  # a future that gets this one never ends
            raise RuntimeError("StopIteration on a thread") from error

    return await _outlast(asyncio.get_running_loop().run_in_executor(executor, call))


async def obtain(
    executor: Executor | None,
    release: Callable[[T], object],
    function: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """The same for what has to be given back, a descriptor say: its caller, once cancelled, never sees it, and so it
    is released here, on a thread as well."""
    made: list[T] = []

    def call() -> T:
        made.append(function(*args, **kwargs))
        return made[0]

    try:
        return await run_blocking(executor, call)
    except asyncio.CancelledError:
        for each in made:
            await run_blocking(executor, release, each)
        raise


async def _outlast(future: "asyncio.Future[T]") -> T:
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError as error:
            cancelled = error
    result = future.result()
    if cancelled is not None:
        raise cancelled
    return result
