"""Metrics of containers alone (cAdvisor's names): what they were given, and what their processes hold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sharedrt.model.drivers import ContainerDetails
from sharedrt.model.spec import Resources
from sharedrt.pb.runtime import v1 as pb

Lines = Iterator[tuple[tuple[str, ...], int]]
"""(values of the metric's own labels, value) for each line."""

_DEFAULT_PERIOD_US: Final = 100_000
_DEFAULT_SHARES: Final = 1024


@dataclass(frozen=True, slots=True)
class SpecMetric:
    """A limit that was asked for; all are gauges."""

    name: str
    help: str
    read: Callable[[Resources], Lines]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DetailMetric:
    name: str
    help: str
    type: pb.MetricType
    read: Callable[[ContainerDetails], Lines]
    labels: tuple[str, ...] = ()


def _one(value: int | None) -> Lines:
    if value is not None:
        yield (), value


def _limit(value: int | None) -> Lines:
    """cAdvisor tells 0 where there is no limit."""
    yield (), value if value is not None and value > 0 else 0


def _quota(resources: Resources) -> Lines:
    if resources.cpu_quota_us is not None and resources.cpu_quota_us > 0:
        yield (), resources.cpu_quota_us


def _hugetlb(details: ContainerDetails) -> Lines:
    for pages in details.cgroup.hugetlb:
        yield (pages.page_size,), pages.usage_bytes


def _hugetlb_peak(details: ContainerDetails) -> Lines:
    for pages in details.cgroup.hugetlb:
        if pages.max_usage_bytes is not None:
            yield (pages.page_size,), pages.max_usage_bytes


def _open_files(details: ContainerDetails) -> Lines:
    if (limit := details.processes.open_files_limit) is not None:
        yield ("max_open_files",), limit


def _filesystem(read: Callable[[ContainerDetails], int]) -> Callable[[ContainerDetails], Lines]:
    def lines(details: ContainerDetails) -> Lines:
        yield (details.filesystem.device,), read(details)

    return lines


SPEC_METRICS: Final = (
    SpecMetric(
        "container_spec_cpu_period",
        "CPU period of the container.",
        lambda r: _one(r.cpu_period_us or _DEFAULT_PERIOD_US),
    ),
    SpecMetric("container_spec_cpu_quota", "CPU quota of the container.", _quota),
    SpecMetric(
        "container_spec_cpu_shares",
        "CPU share of the container.",
        lambda r: _one(r.cpu_shares or _DEFAULT_SHARES),
    ),
    SpecMetric(
        "container_spec_memory_swap_limit_bytes",
        "Memory swap limit for the container.",
        lambda r: _limit(r.memory_swap_bytes),
    ),
)
_COUNTER, _GAUGE = pb.MetricType.COUNTER, pb.MetricType.GAUGE
DETAIL_METRICS: Final = (
    DetailMetric(
        "container_processes",
        "Number of processes running inside the container.",
        _GAUGE,
        lambda d: _one(d.processes.processes),
    ),
    DetailMetric(
        "container_file_descriptors",
        "Number of open file descriptors for the container.",
        _GAUGE,
        lambda d: _one(d.processes.file_descriptors),
    ),
    DetailMetric(
        "container_sockets",
        "Number of open sockets for the container.",
        _GAUGE,
        lambda d: _one(d.processes.sockets),
    ),
    DetailMetric(
        "container_ulimits_soft",
        "Soft ulimit values for the container root process.",
        _GAUGE,
        _open_files,
        ("ulimit",),
    ),
    DetailMetric(
        "container_memory_kernel_usage",
        "Size of kernel memory allocated in bytes.",
        _GAUGE,
        lambda d: _one(d.cgroup.kernel_memory_bytes),
    ),
    DetailMetric(
        "container_spec_memory_reservation_limit_bytes",
        "Memory reservation limit for the container.",
        _GAUGE,
        lambda d: _one(d.cgroup.memory_low_bytes),
    ),
    DetailMetric(
        "container_oom_events_total",
        "Count of out of memory events observed for the container.",
        _COUNTER,
        lambda d: _one(d.cgroup.oom_kills),
    ),
    DetailMetric(
        "container_hugetlb_usage_bytes",
        "Current hugepage usage in bytes.",
        _GAUGE,
        _hugetlb,
        ("pagesize",),
    ),
    DetailMetric(
        "container_hugetlb_max_usage_bytes",
        "Maximum hugepage usage recorded in bytes.",
        _GAUGE,
        _hugetlb_peak,
        ("pagesize",),
    ),
    DetailMetric(
        "container_fs_limit_bytes",
        "Number of bytes that can be consumed by the container on this filesystem.",
        _GAUGE,
        _filesystem(lambda d: d.filesystem.size_bytes),
        ("device",),
    ),
    DetailMetric(
        "container_fs_inodes_total",
        "Number of inodes.",
        _GAUGE,
        _filesystem(lambda d: d.filesystem.inodes),
        ("device",),
    ),
    DetailMetric(
        "container_fs_inodes_free",
        "Number of available inodes.",
        _GAUGE,
        _filesystem(lambda d: d.filesystem.inodes_free),
        ("device",),
    ),
)
