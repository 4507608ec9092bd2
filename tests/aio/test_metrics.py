"""Plain counters, and the loop's lag."""

import asyncio
import time

import pytest

from sharedrt.aio import metrics
from sharedrt.aio.looplag import LOOP_LAG, measure_loop_lag


def test_a_counter() -> None:
    counter = metrics.Counter("c", "help", ("kind",))
    counter.inc("a")
    counter.inc("b", by=2.5)
    counter.inc("a")
    assert dict(counter.samples()) == {("a",): 2, ("b",): 2.5}


def test_a_histogram() -> None:
    histogram = metrics.Histogram("h", "help", (5, 1, 2))
    for value in (0.5, 1, 1.5, 5, 6):
        histogram.observe(value)
    [sample] = histogram.samples()
    assert histogram.buckets == (1, 2, 5)
    assert (sample.labels, sample.counts, sample.total) == ((), (2, 1, 1, 1), 14)


def test_a_timed_block_counts_when_it_fails() -> None:
    histogram = metrics.Histogram("h", "help", (10,), ("what",))
    with pytest.raises(KeyError), histogram.time("x"):
        raise KeyError
    [sample] = histogram.samples()
    assert (sample.labels, sample.counts) == (("x",), (1, 0))


def test_names_are_taken_once() -> None:
    metrics.counter("test_metrics_once", "help")
    with pytest.raises(ValueError, match="test_metrics_once"):
        metrics.histogram("test_metrics_once", "help", (1,))
    assert "test_metrics_once" in [i.name for i in metrics.instruments()]


async def test_a_blocked_loop_shows() -> None:
    before = list(LOOP_LAG.samples())
    slow = before[0].counts[-3:] if before else (0, 0, 0)
    task = asyncio.get_running_loop().create_task(measure_loop_lag(0.01))
    await asyncio.sleep(0.005)
    time.sleep(0.3)  # noqa: ASYNC251  the very thing to be measured
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    [sample] = LOOP_LAG.samples()
    assert sum(sample.counts[-3:]) > sum(slow)
