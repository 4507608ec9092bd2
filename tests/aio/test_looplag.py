"""What a late loop is put down to."""

import asyncio
import time
from pathlib import Path

from sharedrt.aio.looplag import LOOP_BLOCKED, LOOP_LAG, CpuWait, measure_loop_lag


def slow(instrument: object, border_s: float) -> int:
    """Observations above a border."""
    (sample,) = instrument.samples() or [None]  # type: ignore[attr-defined]
    if sample is None:
        return 0
    borders = instrument.buckets  # type: ignore[attr-defined]
    return int(
        sum(n for n, le in zip(sample.counts, (*borders, 9e9), strict=True) if le > border_s)
    )


async def test_a_blocked_loop_is_late_and_blocked() -> None:
    task = asyncio.get_running_loop().create_task(measure_loop_lag(0.01))
    await asyncio.sleep(0.03)
    before = slow(LOOP_LAG, 0.2), slow(LOOP_BLOCKED, 0.2)
    time.sleep(0.3)  # noqa: ASYNC251
    await asyncio.sleep(0.03)
    task.cancel()
    assert (slow(LOOP_LAG, 0.2), slow(LOOP_BLOCKED, 0.2)) == (before[0] + 1, before[1] + 1)


def test_time_without_a_cpu(tmp_path: Path) -> None:
    file = tmp_path / "schedstat"
    file.write_text("950864 369258000 2\n")
    wait = CpuWait(str(file))
    assert wait.seconds() == 0.369258
    wait.close()
    wait.close()
    assert CpuWait(str(tmp_path / "missing")).seconds() == 0.0
    own = CpuWait()
    assert own.seconds() >= 0
    own.close()
