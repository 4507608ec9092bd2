"""What is done now and then, so that a daemon of many months stays as it was on its first day."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from sharedrt.model.drivers import BridgeNetwork
from sharedrt.model.faults import Fault

log = structlog.get_logger(__name__)

MEND_EVERY_S: Final = 15.0
"""How soon our nftables table is back after somebody flushed the ruleset."""
COLLECT_EVERY_S: Final = 3600.0


async def mend_networks(bridge: BridgeNetwork) -> None:
    """Put our rules back when others removed them; for ever."""

    async def mend() -> None:
        if await bridge.mend():
            log.warning("network rules were changed by somebody else and have been put back")

    await _repeat("network rules", MEND_EVERY_S, mend)


async def collect_garbage(collect: Callable[[], Awaitable[None]]) -> None:
    """Remove content that nothing needs any more; for ever."""
    await _repeat("garbage collection", COLLECT_EVERY_S, collect)


async def _repeat(what: str, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await work()
        except Fault as fault:
            # The next round may go better; what is wrong stands in the log once a round.
            log.warning("housekeeping failed", work=what, error=str(fault))
