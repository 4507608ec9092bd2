"""Stats on the way out. A figure that is not known is left out, so that the kubelet does not take it for 0."""

from collections.abc import Sequence
from typing import Any, Final

from sharedrt.edges.cri import render_container
from sharedrt.model.drivers import (
    CgroupStats,
    CpuStats,
    MemoryStats,
    NetworkStats,
    PressureStats,
    Usage,
)
from sharedrt.model.records import ContainerRecord
from sharedrt.pb.runtime import v1 as pb

UNLIMITED_BYTES = 1 << 62
"""cgroup v1 says 'no limit' with a number near 2**63."""

_POD_INTERFACE: Final = "eth0"


def container_stats(
    record: ContainerRecord,
    cgroup: CgroupStats | None,
    *,
    nano_cores: int | None,
    writable: Usage | None,
    mountpoint: str,
    time_ns: int,
) -> pb.ContainerStats:
    """Args:
    cgroup: ``None`` for a container that does not run: its attributes and layer alone are told.
    mountpoint: of the file system that holds writable layers.
    time_ns: when ``writable`` was measured.
    """
    # All fields at once: betterproto is slow at setting them one by one.
    fields: dict[str, Any] = {"attributes": render_container.attributes(record)}
    if cgroup is not None:
        at = cgroup.time_ns
        fields["cpu"] = cpu(at, cgroup.cpu, cgroup.cpu_pressure, nano_cores)
        fields["memory"] = memory(at, cgroup.memory, cgroup.memory_pressure)
        fields["swap"] = swap(at, cgroup.memory)
        fields["io"] = io(at, cgroup.io_pressure)
    if writable is not None:
        fields["writable_layer"] = filesystem(time_ns, mountpoint, writable)
    return pb.ContainerStats(**fields)


def cpu(
    time_ns: int, stats: CpuStats, pressure: PressureStats | None, nano_cores: int | None
) -> pb.CpuUsage:
    fields: dict[str, Any] = _with_psi(pressure)
    if nano_cores is not None:
        fields["usage_nano_cores"] = _number(nano_cores)
    return pb.CpuUsage(timestamp=time_ns, usage_core_nano_seconds=_number(stats.total_ns), **fields)


def memory(time_ns: int, stats: MemoryStats, pressure: PressureStats | None) -> pb.MemoryUsage:
    fields: dict[str, Any] = _with_psi(pressure)
    if 0 < stats.limit_bytes < UNLIMITED_BYTES:
        left = max(0, stats.limit_bytes - stats.working_set_bytes)
        fields["available_bytes"] = _number(left)
    return pb.MemoryUsage(
        timestamp=time_ns,
        working_set_bytes=_number(stats.working_set_bytes),
        usage_bytes=_number(stats.usage_bytes),
        rss_bytes=_number(stats.rss_bytes),
        page_faults=_number(stats.page_faults),
        major_page_faults=_number(stats.major_page_faults),
        **fields,
    )


def swap(time_ns: int, stats: MemoryStats) -> pb.SwapUsage:
    fields = {}
    if 0 < stats.swap_limit_bytes < UNLIMITED_BYTES:
        left = max(0, stats.swap_limit_bytes - stats.swap_usage_bytes)
        fields["swap_available_bytes"] = _number(left)
    used = _number(stats.swap_usage_bytes)
    return pb.SwapUsage(timestamp=time_ns, swap_usage_bytes=used, **fields)


def io(time_ns: int, pressure: PressureStats | None) -> pb.IoUsage:
    return pb.IoUsage(timestamp=time_ns, **_with_psi(pressure))


def filesystem(time_ns: int, mountpoint: str, usage: Usage) -> pb.FilesystemUsage:
    return pb.FilesystemUsage(
        timestamp=time_ns,
        fs_id=pb.FilesystemIdentifier(mountpoint=mountpoint),
        used_bytes=_number(usage.size_bytes),
        inodes_used=_number(usage.inodes),
    )


def _with_psi(pressure: PressureStats | None) -> dict[str, Any]:
    return {} if pressure is None else {"psi": _psi(pressure)}


def _psi(pressure: PressureStats) -> pb.PsiStats:
    """Totals in nanoseconds, as the CRI has them."""
    return pb.PsiStats(
        some=pb.PsiData(
            total=pressure.some_total_us * 1000,
            avg10=pressure.some_avg10,
            avg60=pressure.some_avg60,
            avg300=pressure.some_avg300,
        ),
        full=pb.PsiData(
            total=pressure.full_total_us * 1000,
            avg10=pressure.full_avg10,
            avg60=pressure.full_avg60,
            avg300=pressure.full_avg300,
        ),
    )


def _number(value: int) -> pb.UInt64Value:
    return pb.UInt64Value(value=max(0, value))


def network(time_ns: int, interfaces: Sequence[NetworkStats]) -> pb.NetworkUsage | None:
    """CNI's ``eth0``, or else the first interface, is the default one.

    ``None`` when there is none: a kubelet dereferences the default interface of what it gets.
    """
    if not interfaces:
        return None
    default = next((one for one in interfaces if one.interface == _POD_INTERFACE), interfaces[0])
    return pb.NetworkUsage(
        timestamp=time_ns,
        default_interface=_interface(default),
        interfaces=[_interface(one) for one in interfaces if one is not default],
    )


def _interface(stats: NetworkStats) -> pb.NetworkInterfaceUsage:
    return pb.NetworkInterfaceUsage(
        name=stats.interface,
        rx_bytes=_number(stats.rx_bytes),
        rx_errors=_number(stats.rx_errors),
        tx_bytes=_number(stats.tx_bytes),
        tx_errors=_number(stats.tx_errors),
    )


def processes(time_ns: int, count: int) -> pb.ProcessUsage:
    return pb.ProcessUsage(timestamp=time_ns, process_count=_number(count))
