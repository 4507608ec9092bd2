"""What is done now and then, so that a daemon of many months stays as it was on its first day."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from sharedrt.model.drivers import BridgeNetwork
from sharedrt.model.faults import Fault

log = structlog.get_logger(__name__)

MEND_EVERY_S: Final = 15.0
"""How soon our rules are back at the latest, whoever changed them in whatever way."""
MEND_DELAY_S: Final = 0.5
COLLECT_EVERY_S: Final = 3600.0


async def mend_networks(bridge: BridgeNetwork) -> None:
    """Put our rules back when others removed them; for ever. At once when the kernel tells of it, and now and then
    since it does not tell of all."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(MEND_EVERY_S):
                await _heard(bridge)
        # A reload is many changes, and a first look at an unfinished one would be for nothing.
        await asyncio.sleep(MEND_DELAY_S)
        with _going_on("network rules"):
            if await bridge.mend():
                log.warning("network rules were changed by somebody else and have been put back")


async def _heard(bridge: BridgeNetwork) -> None:
    with _going_on("hearing of changed network rules"):
        await bridge.rules_changed()
        return
    await asyncio.sleep(MEND_EVERY_S)


async def collect_garbage(collect: Callable[[], Awaitable[None]]) -> None:
    """Remove content that nothing needs any more; for ever."""
    await _repeat("garbage collection", COLLECT_EVERY_S, collect)


async def _repeat(what: str, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(every_s)
        await each(what, work)


async def each(what: str, *works: Callable[[], Awaitable[object]]) -> None:
    """Parts of a round that do not need each other: one that fails, always perhaps, does not keep the rest from
    being done."""
    for work in works:
        with _going_on(what):
            await work()


@contextmanager
def _going_on(work: str) -> Iterator[None]:
    """The next round may go better, whatever it was; what is wrong stands in the log once a round."""
    try:
        yield
    except Exception as error:
        bug = None if isinstance(error, Fault) else error
        log.warning("housekeeping failed", work=work, error=str(error), exc_info=bug)
