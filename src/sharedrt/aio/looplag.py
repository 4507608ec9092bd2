"""How late the event loop is: what blocks it shows here."""

import asyncio
from typing import Final

from sharedrt.aio.metrics import histogram

LOOP_LAG: Final = histogram(
    "sharedrt_loop_lag_seconds",
    "How much later than due the event loop ran a timer.",
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)


async def measure_loop_lag(interval_s: float = 0.1) -> None:
    """Observe the loop's lag for ever; run it under the daemon's TaskGroup."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval_s
        await asyncio.sleep(interval_s)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
