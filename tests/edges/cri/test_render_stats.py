"""Stats on the way out."""

from sharedrt.edges.cri.render_stats import UNLIMITED_BYTES, container_stats, memory, network
from sharedrt.model.drivers import (
    CgroupStats,
    CpuStats,
    MemoryStats,
    NetworkStats,
    PressureStats,
    Usage,
)
from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime import v1 as pb
from tests.edges.cri.builders import container


def test_the_default_interface_is_cnis() -> None:
    """Where the host has tunnels, a new network namespace begins with theirs."""
    found = [NetworkStats(interface=name) for name in ("tunl0", "eth0", "net1")]
    usage = network(7, found)
    assert usage is not None
    assert usage.default_interface.name == "eth0"
    assert [one.name for one in usage.interfaces] == ["tunl0", "net1"]


def test_the_first_where_there_is_no_eth0() -> None:
    usage = network(7, [NetworkStats(interface="ens3")])
    assert usage is not None
    assert (usage.default_interface.name, usage.interfaces) == ("ens3", [])


def test_no_network_without_interfaces() -> None:
    assert network(7, []) is None


PRESSURE = PressureStats(1.5, 2.5, 3.5, 4_000, 0.5, 0.6, 0.7, 900)
PSI = pb.PsiStats(
    some=pb.PsiData(total=4_000_000, avg10=1.5, avg60=2.5, avg300=3.5),
    full=pb.PsiData(total=900_000, avg10=0.5, avg60=0.6, avg300=0.7),
)
"""The kernel counts microseconds, the CRI nanoseconds."""


def test_all_that_cgroup_v2_tells() -> None:
    stats = CgroupStats(
        time_ns=7,
        cpu=CpuStats(total_ns=5_000),
        memory=MemoryStats(
            usage_bytes=900,
            working_set_bytes=600,
            rss_bytes=500,
            page_faults=40,
            major_page_faults=4,
            limit_bytes=1_000,
            swap_usage_bytes=30,
            swap_limit_bytes=100,
        ),
        cpu_pressure=PRESSURE,
        memory_pressure=PRESSURE,
        io_pressure=PRESSURE,
    )
    found = container_stats(
        container(),
        stats,
        nano_cores=12,
        writable=Usage(4096, 2),
        mountpoint="/var/lib",
        time_ns=5,
    )
    assert (found.cpu.timestamp, found.cpu.usage_core_nano_seconds.value) == (7, 5_000)
    assert found.cpu.usage_nano_cores.value == 12
    assert found.cpu.psi == found.memory.psi == found.io.psi == PSI
    assert found.memory.available_bytes.value == 400
    assert (found.memory.page_faults.value, found.memory.major_page_faults.value) == (40, 4)
    assert (found.swap.swap_usage_bytes.value, found.swap.swap_available_bytes.value) == (30, 70)
    layer = found.writable_layer
    assert (layer.timestamp, layer.used_bytes.value, layer.inodes_used.value) == (5, 4096, 2)


def test_what_is_not_known_is_left_out() -> None:
    """A kubelet would take a 0 for a figure: no limit is no 'nothing left', no PSI no 'never waited'."""
    for limit in (0, UNLIMITED_BYTES):
        found = memory(7, MemoryStats(usage_bytes=9, limit_bytes=limit), None)
        assert not is_present(found.available_bytes)
        assert not is_present(found.psi)
