"""``GET /containers/{id}/stats``: figures from which clients compute percentages, once or every second."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer, dump
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import bad_request
from sharedrt.model.drivers import BlkioEntry, CgroupStats, CpuStats, MemoryStats, NetworkStats
from sharedrt.model.faults import FailedPrecondition, NotFound
from sharedrt.model.records import ContainerRecord
from sharedrt.services.contracts import ContainerStats
from sharedrt.wire.docker_time import ZERO_TIME, format_time

_INTERVAL_S: Final = 1.0


async def get_containers_stats(call: Call) -> web.StreamResponse:
    record = call.container()
    one_shot = call.flag("one-shot") and versions.reads_one_shot(call.version)
    if call.flag("stream", True):
        if one_shot:
            raise bad_request("cannot have stream=true and one-shot=true")
        return await _stream(call, record)
    previous = None
    if not one_shot:
        # A percentage needs two readings, a second apart.
        previous = await _read(call, record)
        await asyncio.sleep(_INTERVAL_S)
    return answer(_render(call, record, await _read(call, record), previous))


async def _stream(call: Call, record: ContainerRecord) -> web.StreamResponse:
    previous = None
    async with call.stream("application/json") as response:
        next_at = time.monotonic()
        while True:
            try:
                record = call.runtime.containers.by_id(record.id)
            except NotFound:
                return response
            current = await _read(call, record)
            await response.write(dump(_render(call, record, current, previous)) + b"\n")
            previous = current
            next_at += _INTERVAL_S
            await asyncio.sleep(max(next_at - time.monotonic(), 0.1))


async def _read(call: Call, record: ContainerRecord) -> ContainerStats | None:
    """``None`` for a container that does not run: its figures are empty, which is no error."""
    try:
        return await call.runtime.containers.stats(record.id, writable=False)
    except (FailedPrecondition, NotFound):
        return None


def _render(
    call: Call,
    record: ContainerRecord,
    current: ContainerStats | None,
    previous: ContainerStats | None,
) -> dict[str, Any]:
    memory_total = call.door.host.memory_bytes
    return render_stats(record, current, previous, memory_total=memory_total)


def render_stats(
    record: ContainerRecord,
    current: ContainerStats | None,
    previous: ContainerStats | None,
    *,
    memory_total: int,
) -> dict[str, Any]:
    """One ContainerStatsResponse; ``memory_total`` stands in for a limit that was not set."""
    cgroup = current.cgroup if current else CgroupStats(time_ns=0)
    before = previous.cgroup if previous else None
    rendered: dict[str, Any] = {
        "name": f"/{record.name}",
        "id": record.id,
        "read": format_time(cgroup.time_ns) if current else ZERO_TIME,
        "preread": format_time(before.time_ns) if before else ZERO_TIME,
        "num_procs": 0,
        "pids_stats": _pids(cgroup) if current else {},
        "cpu_stats": _cpu(cgroup.cpu),
        "precpu_stats": _cpu(before.cpu if before else CpuStats()),
        "memory_stats": _memory(cgroup.memory, memory_total) if current else {},
        "blkio_stats": _blkio(cgroup),
        "storage_stats": {},
    }
    if current and current.networks:
        rendered["networks"] = {n.interface: _network(n) for n in current.networks}
    return rendered


def _pids(cgroup: CgroupStats) -> dict[str, int]:
    rendered = {"current": cgroup.pids_current}
    # No limit reads as the largest number there is, as the kernel's "max" does in Go.
    rendered["limit"] = cgroup.pids_limit if cgroup.pids_limit > 0 else (1 << 64) - 1
    return rendered


def _cpu(cpu: CpuStats) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "cpu_usage": {
            "total_usage": cpu.total_ns,
            "usage_in_kernelmode": cpu.system_ns,
            "usage_in_usermode": cpu.user_ns,
        },
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled_ns,
        },
    }
    if cpu.per_cpu_ns:
        rendered["cpu_usage"]["percpu_usage"] = list(cpu.per_cpu_ns)
    if cpu.system_total_ns:
        rendered["system_cpu_usage"] = cpu.system_total_ns
        rendered["online_cpus"] = cpu.online_cpus
    return rendered


def _memory(memory: MemoryStats, total: int) -> dict[str, Any]:
    limit = memory.limit_bytes if 0 < memory.limit_bytes < total else total
    rendered: dict[str, Any] = {
        "usage": memory.usage_bytes,
        "limit": limit,
        "stats": dict(memory.raw),
    }
    if memory.max_usage_bytes:
        rendered["max_usage"] = memory.max_usage_bytes
    if memory.fail_count:
        rendered["failcnt"] = memory.fail_count
    return rendered


def _blkio(cgroup: CgroupStats) -> dict[str, Any]:
    """With cgroups v1, which alone tell of each CPU, the figures that no scheduler keeps are empty; with v2 there are
    no such figures."""
    none: list[Any] | None = [] if cgroup.cpu.per_cpu_ns else None
    return {
        "io_service_bytes_recursive": _entries(cgroup.blkio_bytes) or none,
        "io_serviced_recursive": _entries(cgroup.blkio_ops) or none,
        "io_queue_recursive": none,
        "io_service_time_recursive": none,
        "io_wait_time_recursive": none,
        "io_merged_recursive": none,
        "io_time_recursive": none,
        "sectors_recursive": none,
    }


def _entries(entries: Iterable[BlkioEntry]) -> list[dict[str, Any]]:
    return [{"major": e.major, "minor": e.minor, "op": e.op, "value": e.value} for e in entries]


def _network(network: NetworkStats) -> dict[str, int]:
    return {
        "rx_bytes": network.rx_bytes,
        "rx_packets": network.rx_packets,
        "rx_errors": network.rx_errors,
        "rx_dropped": network.rx_dropped,
        "tx_bytes": network.tx_bytes,
        "tx_packets": network.tx_packets,
        "tx_errors": network.tx_errors,
        "tx_dropped": network.tx_dropped,
    }


ROUTES = (Route("GET", "/containers/{id}/stats", get_containers_stats),)
