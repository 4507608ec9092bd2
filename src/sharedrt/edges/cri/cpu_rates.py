"""CPU use in nanocores: the slope between two readings of a cumulative counter."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

_MIN_SPAN_NS: Final = 500_000_000
"""Readings nearer to each other give noise; the last slope is repeated."""


@dataclass(frozen=True, slots=True)
class _Sample:
    time_ns: int
    total_ns: int
    nano_cores: int | None


class CpuRates:
    """The last reading for each container or pod."""

    def __init__(self) -> None:
        self._samples: dict[str, _Sample] = {}

    def update(self, id: str, time_ns: int, total_ns: int) -> int | None:
        """Note a reading; nanocores since an earlier one, ``None`` for want of one."""
        last = self._samples.get(id)
        if last is not None and 0 <= time_ns - last.time_ns < _MIN_SPAN_NS:
            return last.nano_cores
        rate = None
        # A counter that went back belongs to a new cgroup: begin again.
        if last is not None and total_ns >= last.total_ns and time_ns > last.time_ns:
            rate = (total_ns - last.total_ns) * 1_000_000_000 // (time_ns - last.time_ns)
        self._samples[id] = _Sample(time_ns, total_ns, rate)
        return rate

    def retain(self, ids: Collection[str]) -> None:
        """Forget all others."""
        if len(self._samples) > len(ids):
            self._samples = {id: s for id, s in self._samples.items() if id in ids}
