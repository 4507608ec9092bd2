"""ListMetricDescriptors and ListPodSandboxMetrics: cAdvisor's metrics, told by the runtime (KEP-2371).

Names, units and labels are cAdvisor's, since the kubelet passes them on at /metrics/cadvisor. Values are
whole numbers by the CRI: seconds of CPU are cut off.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sharedrt.edges.cri.container_metrics import DETAIL_METRICS, SPEC_METRICS
from sharedrt.edges.cri.context import CriContext, RuntimePart
from sharedrt.edges.cri.names import container_title
from sharedrt.edges.cri.render_stats import UNLIMITED_BYTES
from sharedrt.edges.cri.stats import Measured, measure_running
from sharedrt.model.drivers import BlkioEntry, CgroupStats, NetworkStats, PressureStats
from sharedrt.model.faults import FailedPrecondition, NotFound
from sharedrt.model.records import SandboxRecord, SandboxState
from sharedrt.pb.runtime import v1 as pb

_NS: Final = 1_000_000_000
_US: Final = 1_000_000
_BASE_LABELS: Final = ("container", "id", "image", "name", "namespace", "pod")


@dataclass(frozen=True, slots=True)
class _CgroupMetric:
    """``read`` gives (values of the further labels, value) for each line."""

    name: str
    help: str
    type: pb.MetricType
    read: Callable[[CgroupStats], Iterator[tuple[tuple[str, ...], int]]]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _NetworkMetric:
    name: str
    help: str
    read: Callable[[NetworkStats], int]


def _one(
    read: Callable[[CgroupStats], int],
) -> Callable[[CgroupStats], Iterator[tuple[tuple[str, ...], int]]]:
    def lines(stats: CgroupStats) -> Iterator[tuple[tuple[str, ...], int]]:
        yield (), read(stats)

    return lines


def _raw(*keys: str) -> Callable[[CgroupStats], Iterator[tuple[tuple[str, ...], int]]]:
    """A figure of memory.stat, by its name on v1 or on v2; nothing where the kernel has none."""

    def lines(stats: CgroupStats) -> Iterator[tuple[tuple[str, ...], int]]:
        for key in keys:
            if key in stats.memory.raw:
                yield (), stats.memory.raw[key]
                return

    return lines


def _failures(stats: CgroupStats) -> Iterator[tuple[tuple[str, ...], int]]:
    yield ("pgfault", "container"), stats.memory.page_faults
    yield ("pgmajfault", "container"), stats.memory.major_page_faults


def _blkio(stats: CgroupStats) -> Iterator[tuple[tuple[str, ...], int]]:
    for entry in stats.blkio_bytes:
        device = f"/dev/block/{entry.major}:{entry.minor}"
        yield (device, str(entry.major), str(entry.minor), entry.op), entry.value


_COUNTER, _GAUGE = pb.MetricType.COUNTER, pb.MetricType.GAUGE


def _disk(prefix: str, op: str, words: str) -> tuple[_CgroupMetric, _CgroupMetric]:
    def lines(entries: Sequence[BlkioEntry]) -> Iterator[tuple[tuple[str, ...], int]]:
        for entry in entries:
            if entry.op.lower() == op:
                yield (f"/dev/block/{entry.major}:{entry.minor}",), entry.value

    return (
        _CgroupMetric(
            f"{prefix}_bytes_total", f"Cumulative count of bytes of {words}.", _COUNTER,
            lambda s: lines(s.blkio_bytes), ("device",),
        ),
        _CgroupMetric(
            f"{prefix}_total", f"Cumulative count of {words} completed.", _COUNTER,
            lambda s: lines(s.blkio_ops), ("device",),
        ),
    )  # fmt: skip


def _pressure(
    what: str, of: Callable[[CgroupStats], PressureStats | None]
) -> tuple[_CgroupMetric, _CgroupMetric]:
    """Nothing where the kernel has no PSI."""

    def waiting(stats: CgroupStats) -> Iterator[tuple[tuple[str, ...], int]]:
        if (found := of(stats)) is not None:
            yield (), found.some_total_us // _US

    def stalled(stats: CgroupStats) -> Iterator[tuple[tuple[str, ...], int]]:
        if (found := of(stats)) is not None:
            yield (), found.full_total_us // _US

    name = f"container_pressure_{what}"
    return (
        _CgroupMetric(
            f"{name}_waiting_seconds_total",
            f"Total time tasks in the container have waited due to {what} congestion.",
            _COUNTER,
            waiting,
        ),
        _CgroupMetric(
            f"{name}_stalled_seconds_total",
            f"Total time no task in the container could make progress due to {what} congestion.",
            _COUNTER,
            stalled,
        ),
    )


CGROUP_METRICS: Final = (
    _CgroupMetric(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        _COUNTER,
        _one(lambda s: s.cpu.total_ns // _NS),
    ),
    _CgroupMetric(
        "container_cpu_user_seconds_total",
        "Cumulative user cpu time consumed in seconds.",
        _COUNTER,
        _one(lambda s: s.cpu.user_ns // _NS),
    ),
    _CgroupMetric(
        "container_cpu_system_seconds_total",
        "Cumulative system cpu time consumed in seconds.",
        _COUNTER,
        _one(lambda s: s.cpu.system_ns // _NS),
    ),
    _CgroupMetric(
        "container_cpu_cfs_periods_total",
        "Number of elapsed enforcement period intervals.",
        _COUNTER,
        _one(lambda s: s.cpu.periods),
    ),
    _CgroupMetric(
        "container_cpu_cfs_throttled_periods_total",
        "Number of throttled period intervals.",
        _COUNTER,
        _one(lambda s: s.cpu.throttled_periods),
    ),
    _CgroupMetric(
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        _COUNTER,
        _one(lambda s: s.cpu.throttled_ns // _NS),
    ),
    _CgroupMetric(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed.",
        _GAUGE,
        _one(lambda s: s.memory.usage_bytes),
    ),
    _CgroupMetric(
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        _GAUGE,
        _one(lambda s: s.memory.working_set_bytes),
    ),
    _CgroupMetric(
        "container_memory_rss", "Size of RSS in bytes.", _GAUGE, _one(lambda s: s.memory.rss_bytes)
    ),
    _CgroupMetric(
        "container_memory_max_usage_bytes",
        "Maximum memory usage recorded in bytes.",
        _GAUGE,
        _one(lambda s: s.memory.max_usage_bytes),
    ),
    _CgroupMetric(
        "container_memory_swap",
        "Container swap usage in bytes.",
        _GAUGE,
        _one(lambda s: s.memory.swap_usage_bytes),
    ),
    _CgroupMetric(
        "container_memory_failcnt",
        "Number of memory usage hits limits.",
        _COUNTER,
        _one(lambda s: s.memory.fail_count),
    ),
    _CgroupMetric(
        "container_memory_cache",
        "Number of bytes of page cache memory.",
        _GAUGE,
        _raw("total_cache", "cache", "file"),
    ),
    _CgroupMetric(
        "container_memory_mapped_file",
        "Size of memory mapped files in bytes.",
        _GAUGE,
        _raw("total_mapped_file", "mapped_file", "file_mapped"),
    ),
    _CgroupMetric(
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        _COUNTER,
        _failures,
        ("failure_type", "scope"),
    ),
    _CgroupMetric(
        "container_threads",
        "Number of threads running inside the container.",
        _GAUGE,
        _one(lambda s: s.pids_current),
    ),
    _CgroupMetric(
        "container_threads_max",
        "Maximum number of threads allowed inside the container, infinity if value is zero.",
        _GAUGE,
        _one(lambda s: s.pids_limit),
    ),
    *_disk("container_fs_reads", "read", "reads"),
    *_disk("container_fs_writes", "write", "writes"),
    *_pressure("cpu", lambda s: s.cpu_pressure),
    *_pressure("memory", lambda s: s.memory_pressure),
    *_pressure("io", lambda s: s.io_pressure),
    _CgroupMetric(
        "container_blkio_device_usage_total",
        "Blkio device bytes usage.",
        _COUNTER,
        _blkio,
        ("device", "major", "minor", "operation"),
    ),
    _CgroupMetric(
        "container_spec_memory_limit_bytes",
        "Memory limit for the container.",
        _GAUGE,
        _one(lambda s: s.memory.limit_bytes if s.memory.limit_bytes < UNLIMITED_BYTES else 0),
    ),
)
NETWORK_METRICS: Final = tuple(
    _NetworkMetric(f"container_network_{way}_{what}_total", f"Cumulative count of {words}.", read)
    for way, what, words, read in (
        ("receive", "bytes", "bytes received", lambda n: n.rx_bytes),
        ("receive", "packets", "packets received", lambda n: n.rx_packets),
        ("receive", "packets_dropped", "packets dropped while receiving", lambda n: n.rx_dropped),
        ("receive", "errors", "errors encountered while receiving", lambda n: n.rx_errors),
        ("transmit", "bytes", "bytes transmitted", lambda n: n.tx_bytes),
        ("transmit", "packets", "packets transmitted", lambda n: n.tx_packets),
        ("transmit", "packets_dropped", "packets dropped while sending", lambda n: n.tx_dropped),
        ("transmit", "errors", "errors encountered while transmitting", lambda n: n.tx_errors),
    )
)
_START: Final = "container_start_time_seconds"
_SEEN: Final = "container_last_seen"
_FS_USAGE: Final = "container_fs_usage_bytes"
OTHER_METRICS: Final = (
    (_START, "Start time of the container since unix epoch in seconds.", ()),
    (_SEEN, "Last time a container was seen by the exporter.", ()),
    (
        _FS_USAGE,
        "Number of bytes that are consumed by the container on this filesystem.",
        ("device",),
    ),
)


class MetricsCalls(RuntimePart):
    async def list_metric_descriptors(
        self, list_metric_descriptors_request: pb.ListMetricDescriptorsRequest
    ) -> pb.ListMetricDescriptorsResponse:
        return pb.ListMetricDescriptorsResponse(descriptors=descriptors())

    async def list_pod_sandbox_metrics(
        self, list_pod_sandbox_metrics_request: pb.ListPodSandboxMetricsRequest
    ) -> pb.ListPodSandboxMetricsResponse:
        metrics = await pod_metrics(self.context, self.pods.list())
        return pb.ListPodSandboxMetricsResponse(pod_metrics=metrics)


def descriptors() -> list[pb.MetricDescriptor]:
    """Every metric that :func:`pod_metrics` may give; its label values come in the order of these keys."""
    named = [(m.name, m.help, m.labels) for m in CGROUP_METRICS]
    named += [(m.name, m.help, ("interface",)) for m in NETWORK_METRICS]
    named += OTHER_METRICS
    named += [(m.name, m.help, m.labels) for m in (*SPEC_METRICS, *DETAIL_METRICS)]
    return [
        pb.MetricDescriptor(name=name, help=help, label_keys=[*_BASE_LABELS, *labels])
        for name, help, labels in named
    ]


async def pod_metrics(
    context: CriContext, records: Sequence[SandboxRecord]
) -> list[pb.PodSandboxMetrics]:
    """Of ready pods, in their order; what goes meanwhile is left out."""

    async def one(record: SandboxRecord) -> pb.PodSandboxMetrics | None:
        try:
            return await _metrics_of(context, record)
        except NotFound:
            return None

    ready = [record for record in records if record.state is SandboxState.READY]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(record)) for record in ready]
    return [metrics for task in tasks if (metrics := task.result()) is not None]


async def _metrics_of(context: CriContext, record: SandboxRecord) -> pb.PodSandboxMetrics:
    pods = context.services.pods
    measured = await measure_running(context, pods.containers_of(record.id))
    pod = await pods.stats(record.id)
    base = ("", record.spec.cgroup_parent, "", "", record.pod_namespace, record.name)
    lines = _Lines(base, time.time_ns())
    for metric in NETWORK_METRICS:
        for interface in pod.networks:
            lines.add(metric.name, _COUNTER, metric.read(interface), interface.interface)
    if pod.cgroup is not None:
        lines.add_cgroup(pod.cgroup)
    containers = []
    for one in measured:
        with suppress(NotFound, FailedPrecondition):  # it has just ended
            metrics = await _of_container(context, record, one)
            containers.append(pb.ContainerMetrics(container_id=one.record.id, metrics=metrics))
    return pb.PodSandboxMetrics(
        pod_sandbox_id=record.id, metrics=lines.metrics, container_metrics=containers
    )


async def _of_container(
    context: CriContext, sandbox: SandboxRecord, measured: Measured
) -> list[pb.Metric]:
    record = measured.record
    base = (
        container_title(record),
        record.id,
        record.image_reference,
        record.name,
        sandbox.pod_namespace,
        sandbox.name,
    )
    lines = _Lines(base, measured.cgroup.time_ns)
    lines.add_cgroup(measured.cgroup)
    lines.add(_START, _GAUGE, record.started_ns // _NS)
    lines.add(_SEEN, _GAUGE, lines.time_ns // _NS)
    for spec in SPEC_METRICS:
        for labels, value in spec.read(record.spec.resources):
            lines.add(spec.name, _GAUGE, value, *labels)
    details = await context.services.containers.details(record.id)
    for detail in DETAIL_METRICS:
        for labels, value in detail.read(details):
            lines.add(detail.name, detail.type, value, *labels)
    _, usage = await context.layer_usage.of(record.id)
    lines.add(_FS_USAGE, _GAUGE, usage.size_bytes, details.filesystem.device)
    return lines.metrics


class _Lines:
    """Metrics that share the base labels and a time."""

    def __init__(self, base: Sequence[str], time_ns: int) -> None:
        self._base, self.time_ns = base, time_ns
        self.metrics: list[pb.Metric] = []

    def add(self, name: str, type: pb.MetricType, value: int, *labels: str) -> None:
        self.metrics.append(
            pb.Metric(
                name=name,
                timestamp=self.time_ns,
                metric_type=type,
                label_values=[*self._base, *labels],
                value=pb.UInt64Value(value=max(0, value)),
            )
        )

    def add_cgroup(self, stats: CgroupStats) -> None:
        for metric in CGROUP_METRICS:
            for labels, value in metric.read(stats):
                self.add(metric.name, metric.type, value, *labels)
