"""Figures of recorded trees, one of v1 and one of v2, and of a cgroup that is not there."""

from pathlib import Path

import pytest

from sharedrt.drivers.cgroups import CgroupManager, Hierarchies
from sharedrt.drivers.cgroups.parse import UNLIMITED
from sharedrt.drivers.cgroups.stats import HostCpu
from sharedrt.model.drivers import BlkioEntry

FIXTURES = Path(__file__).parent / "fixtures"
V1 = Hierarchies(
    v1={
        c: FIXTURES / "v1" / c
        for c in ("cpu", "cpuacct", "memory", "blkio", "pids", "cpuset", "devices", "freezer")
    }
)
V2 = Hierarchies(
    FIXTURES / "v2", {}, frozenset(("cpu", "memory", "io", "pids", "cpuset", "hugetlb"))
)


def manager(hierarchies: Hierarchies, proc: Path = FIXTURES) -> CgroupManager:
    return CgroupManager("cgroupfs", hierarchies=hierarchies, systemd_running=False, proc=proc)


def test_v2() -> None:
    cgroups = manager(V2)
    stats = cgroups.stats("/kubepods/pod1")
    cgroups.close()
    assert stats.cpu.total_ns == 8_123_456_000
    assert (stats.cpu.user_ns, stats.cpu.system_ns) == (6_000_000_000, 2_123_456_000)
    assert (stats.cpu.periods, stats.cpu.throttled_periods, stats.cpu.throttled_ns) == (
        120,
        7,
        350_000_000,
    )
    assert stats.cpu.per_cpu_ns == ()
    assert stats.memory.usage_bytes == 104857600
    assert stats.memory.working_set_bytes == 104857600 - 31457280
    assert stats.memory.available_bytes == 268435456 - stats.memory.working_set_bytes
    assert stats.memory.rss_bytes == 52428800
    assert (stats.memory.page_faults, stats.memory.major_page_faults) == (40123, 17)
    assert (stats.memory.limit_bytes, stats.memory.max_usage_bytes) == (268435456, 157286400)
    assert stats.memory.fail_count == 42
    assert (stats.memory.swap_usage_bytes, stats.memory.swap_limit_bytes) == (1048576, UNLIMITED)
    assert stats.memory.raw["workingset_refault_file"] == 12
    assert stats.blkio_bytes[0] == BlkioEntry(259, 0, "read", 1052672)
    assert BlkioEntry(8, 16, "discard", 3) in stats.blkio_ops
    assert (stats.pids_current, stats.pids_limit) == (12, 0)
    assert stats.cpu_pressure is not None
    assert (stats.cpu_pressure.some_avg10, stats.cpu_pressure.full_total_us) == (1.53, 2345)
    assert stats.memory_pressure is not None
    assert stats.io_pressure is not None


def test_limits_below_a_scope(tmp_path: Path) -> None:
    """crun's own cgroup in systemd's scope has them; runc's scope has them itself."""
    for folder, limit in (("a.scope", "max"), ("a.scope/container", "4096"), ("b.scope", "8192")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "memory.max").write_text(f"{limit}\n")
    cgroups = manager(Hierarchies(tmp_path, {}, frozenset(("memory",))))
    assert cgroups.stats("/a.scope").memory.limit_bytes == 4096
    assert cgroups.stats("/b.scope").memory.limit_bytes == 8192
    cgroups.close()


def test_v1() -> None:
    cgroups = manager(V1)
    stats = cgroups.stats("/box")
    cgroups.close()
    assert stats.cpu.per_cpu_ns == (1_500_000_000, 500_000_000)
    assert stats.cpu.total_ns == 2_000_000_000
    assert (stats.cpu.user_ns, stats.cpu.system_ns) == (1_200_000_000, 800_000_000)
    assert (stats.cpu.periods, stats.cpu.throttled_periods, stats.cpu.throttled_ns) == (
        50,
        5,
        123456789,
    )
    assert stats.memory.working_set_bytes == 67108864 - 16777216
    assert stats.memory.rss_bytes == 41943040
    assert (stats.memory.page_faults, stats.memory.major_page_faults) == (1000, 5)
    assert (stats.memory.max_usage_bytes, stats.memory.fail_count) == (70000640, 3)
    assert (stats.memory.swap_usage_bytes, stats.memory.swap_limit_bytes) == (2097152, 67108864)
    assert [e.op for e in stats.blkio_bytes] == [
        "Read",
        "Write",
        "Sync",
        "Async",
        "Discard",
        "Total",
    ]
    assert (stats.pids_current, stats.pids_limit) == (4, 100)
    assert stats.cpu_pressure is None


@pytest.mark.parametrize("hierarchies", [V1, V2], ids=["v1", "v2"])
def test_a_missing_cgroup_is_all_zeros(hierarchies: Hierarchies) -> None:
    cgroups = manager(hierarchies)
    stats = cgroups.stats("/nothing/here")
    assert (stats.cpu.total_ns, stats.memory.usage_bytes, stats.pids_current) == (0, 0, 0)
    assert cgroups.oom_kills("/nothing/here") is None
    assert cgroups.pids("/nothing/here") == []


def test_oom_kills_and_pids() -> None:
    assert manager(V1).oom_kills("/box") == 2
    assert manager(V2).oom_kills("/kubepods/pod1") == 1
    assert sorted(manager(V1).pids("/box")) == [77, 78]
    assert sorted(manager(V2).pids("/kubepods/pod1")) == [4321, 4400, 4500]  # of nested ones, too


def test_features() -> None:
    one, two = manager(V1).features, manager(V2).features
    assert (one.version, one.swap, one.cpu_realtime, one.hugetlb, one.blkio_weight) == (
        1,
        True,
        True,
        False,
        False,
    )
    assert (one.swappiness, one.oom_kill_disable) == (True, True)
    assert (two.version, two.swap, two.cpu_realtime, two.hugetlb, two.blkio_weight) == (
        2,
        True,
        False,
        True,
        True,
    )
    assert (two.swappiness, two.oom_kill_disable) == (False, False)


def test_host_cpu_is_read_once_a_tick(tmp_path: Path) -> None:
    file = tmp_path / "stat"
    file.write_text("cpu  10 0 0 90 0 0 0 0 0 0\n")
    host, now_ns, tick_ns = HostCpu(str(file)), 1_000_000_000, 10_000_000
    first = host.total_ns(now_ns)
    file.write_text("cpu  20 0 0 90 0 0 0 0 0 0\n")
    assert host.total_ns(now_ns + tick_ns - 1) == first > 0
    assert host.total_ns(now_ns + tick_ns) == first // 100 * 110


def test_host_cpu_goes_on_when_the_clock_is_set_back(tmp_path: Path) -> None:
    file = tmp_path / "stat"
    file.write_text("cpu  10 0 0 90 0 0 0 0 0 0\n")
    host, now_ns = HostCpu(str(file)), 3600 * 1_000_000_000
    first = host.total_ns(now_ns)
    file.write_text("cpu  20 0 0 90 0 0 0 0 0 0\n")
    assert host.total_ns(now_ns - 1_000_000_000) == first // 100 * 110


def test_a_cgroup_made_anew_is_read_anew(tmp_path: Path) -> None:
    """Kept descriptors are of the old file; forget() is what remove() does."""
    (tmp_path / "box").mkdir()
    (tmp_path / "box/pids.current").write_text("1\n")
    cgroups = manager(Hierarchies(v1={"pids": tmp_path}))
    assert cgroups.stats("/box").pids_current == 1
    (tmp_path / "box/pids.current").unlink()
    (tmp_path / "box/pids.current").write_text("2\n")
    cgroups._files.forget("/box")
    assert cgroups.stats("/box").pids_current == 2
    cgroups.close()
