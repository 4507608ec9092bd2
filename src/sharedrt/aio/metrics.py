"""Plain counters: each module keeps its own, the admin door shows all of them to Prometheus.

::

    COMMITS = histogram("sharedrt_store_commit_use_cases", "Use cases in one commit.", (1, 2, 5, 10))
    COMMITS.observe(3)

An instrument is written by one thread and read by the loop; neither takes a lock.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeVar

DURATION_BUCKETS_S: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """``counts``: observations in each bucket, the last being those above all bounds."""

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    total: float


class Counter:
    """A number that grows, one for each combination of label values."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {}

    def inc(self, *labels: str, by: float = 1) -> None:
        """Label values in the order of the counter's labels; few different ones, never ids."""
        self._values[labels] = self._values.get(labels, 0) + by

    def samples(self) -> Iterable[tuple[tuple[str, ...], float]]:
        return list(self._values.items())


class Histogram:
    """How often a value fell into each bucket."""

    def __init__(
        self, name: str, help: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self.name, self.help, self.labels = name, help, tuple(labels)
        self.buckets = tuple(sorted(buckets))
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._totals: dict[tuple[str, ...], float] = {}

    def observe(self, value: float, *labels: str) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self.buckets) + 1)
        counts[bisect_left(self.buckets, value)] += 1
        self._totals[labels] = self._totals.get(labels, 0.0) + value

    @contextmanager
    def time(self, *labels: str) -> Iterator[None]:
        """Observe how many seconds the block takes, also when it fails."""
        started = monotonic()
        try:
            yield
        finally:
            self.observe(monotonic() - started, *labels)

    def samples(self) -> Iterable[HistogramSample]:
        return [
            HistogramSample(labels, tuple(counts), self._totals.get(labels, 0.0))
            for labels, counts in list(self._counts.items())
        ]


Instrument = TypeVar("Instrument", Counter, Histogram)

_instruments: dict[str, Counter | Histogram] = {}


def counter(name: str, help: str, labels: Sequence[str] = ()) -> Counter:
    """A new counter, known to :func:`instruments`. Raises ValueError for a name that is taken."""
    return _known(Counter(name, help, labels))


def histogram(
    name: str, help: str, buckets: Sequence[float], labels: Sequence[str] = ()
) -> Histogram:
    """A new histogram, known to :func:`instruments`. Raises ValueError for a name that is taken."""
    return _known(Histogram(name, help, buckets, labels))


def instruments() -> Sequence[Counter | Histogram]:
    return list(_instruments.values())


def _known(instrument: Instrument) -> Instrument:
    if instrument.name in _instruments:
        raise ValueError(f"two instruments are called {instrument.name}")
    _instruments[instrument.name] = instrument
    return instrument
