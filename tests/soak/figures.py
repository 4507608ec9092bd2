"""A process's size from /proc, and histograms out of Prometheus' text."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp


@dataclass(frozen=True)
class ProcessFigures:
    rss_bytes: int
    descriptors: int
    threads: int


def process_figures(pid: int) -> ProcessFigures:
    status = Path(f"/proc/{pid}/status").read_text()
    rss = re.search(r"VmRSS:\s+(\d+) kB", status)
    threads = re.search(r"Threads:\s+(\d+)", status)
    assert rss is not None
    assert threads is not None
    return ProcessFigures(int(rss[1]) * 1024, len(os.listdir(f"/proc/{pid}/fd")), int(threads[1]))


@dataclass(frozen=True)
class HostCpu:
    """Clock ticks of all CPUs together since the host's start."""

    busy: int
    idle: int
    stolen: int

    def __sub__(self, other: "HostCpu") -> "HostCpu":
        return HostCpu(self.busy - other.busy, self.idle - other.idle, self.stolen - other.stolen)

    def __str__(self) -> str:
        whole = max(1, self.busy + self.idle + self.stolen)
        load = os.getloadavg()[0]
        return f"{self.busy / whole:.0%} busy, {self.stolen / whole:.0%} stolen, load {load:.1f}"


def host_cpu() -> HostCpu:
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, words[:8])
    return HostCpu(user + nice + system + irq + softirq, idle + iowait, steal)


async def metrics_of(admin_socket: Path) -> str:
    connector = aiohttp.UnixConnector(str(admin_socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://admin/metrics") as response,
    ):
        return await response.text()


@dataclass(frozen=True)
class Range:
    """Between which two borders of a histogram a quantile lies, in seconds."""

    lower_s: float
    upper_s: float

    def __str__(self) -> str:
        return f"{self.lower_s * 1000:g} to {self.upper_s * 1000:g} ms"


@dataclass(frozen=True)
class Histogram:
    """Counts of values up to each border, as Prometheus has them: each includes the ones below."""

    buckets: Mapping[float, float]

    @property
    def count(self) -> int:
        return int(max(self.buckets.values(), default=0))

    def __sub__(self, other: "Histogram") -> "Histogram":
        """What came since then."""
        return Histogram({le: n - other.buckets.get(le, 0) for le, n in self.buckets.items()})

    def quantile(self, q: float) -> Range:
        lower = 0.0
        for border, count in sorted(self.buckets.items()):
            if count >= q * self.count:
                return Range(lower, border)
            lower = border
        return Range(lower, float("inf"))


def histogram_of(text: str, name: str) -> Histogram:
    """The histogram of that name, which must have no further labels."""
    found = re.findall(rf'^{name}_bucket{{le="([^"]+)"}} (\S+)', text, re.MULTILINE)
    return Histogram({float(le): float(count) for le, count in found})
