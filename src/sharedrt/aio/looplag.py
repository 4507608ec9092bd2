"""How late the event loop is, and how much of that is our own doing: what blocks it shows here."""

import asyncio
import os
from typing import Final

from sharedrt.aio.metrics import histogram

_BORDERS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LOOP_LAG: Final = histogram(
    "sharedrt_loop_lag_seconds",
    "How much later than due the event loop ran a timer.",
    _BORDERS,
)
LOOP_BLOCKED: Final = histogram(
    "sharedrt_loop_blocked_seconds",
    "The same without the time that its thread waited for a CPU.",
    _BORDERS,
)


class CpuWait:
    """How long the calling thread has waited for a CPU (proc(5), ``schedstat``); always 0 without CONFIG_SCHED_INFO."""

    def __init__(self, path: str = "/proc/thread-self/schedstat") -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def seconds(self) -> float:
        """Since the thread's start."""
        if self._fd < 0:
            return 0.0
        return int(os.pread(self._fd, 128, 0).split()[1]) / 1e9

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


async def measure_loop_lag(interval_s: float = 0.1) -> None:
    """Observe the loop's lag for ever; run it under the daemon's TaskGroup."""
    loop = asyncio.get_running_loop()
    wait = CpuWait()
    try:
        while True:
            due, waited_s = loop.time() + interval_s, wait.seconds()
            await asyncio.sleep(interval_s)
            lag_s = max(0.0, loop.time() - due)
            LOOP_LAG.observe(lag_s)
            LOOP_BLOCKED.observe(max(0.0, lag_s - (wait.seconds() - waited_s)))
    finally:
        wait.close()
