"""Limits of parent cgroups, as v1 and v2 files and as systemd properties."""

from pathlib import Path

import pytest

from sharedrt.drivers.cgroups import limits
from sharedrt.drivers.cgroups.limits import (
    cpu_weight,
    systemd_properties,
    unknown_to_systemd,
    v1_settings,
    v2_settings,
)
from sharedrt.drivers.cgroups.manager import CgroupManager
from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.spec import Resources

QUOTA = Resources(
    memory_bytes=1 << 30, memory_swap_bytes=3 << 29, cpu_quota_us=150_000, cpu_period_us=100_000,
    cpu_shares=1024, pids_limit=500, cpuset_cpus="0-1",
)  # fmt: skip
LIFTED = Resources(memory_bytes=-1, memory_swap_bytes=-1, cpu_quota_us=-1, pids_limit=-1)


def test_v1() -> None:
    found = {name: value for _, name, value in v1_settings(QUOTA)}
    assert found["memory.limit_in_bytes"] == str(1 << 30)
    assert found["memory.memsw.limit_in_bytes"] == str(3 << 29)
    assert (found["cpu.cfs_quota_us"], found["cpu.cfs_period_us"]) == ("150000", "100000")
    assert (found["pids.max"], found["cpuset.cpus"]) == ("500", "0-1")
    assert {v for _, _, v in v1_settings(LIFTED)} == {"-1", "max"}


def test_v2() -> None:
    found = {name: value for _, name, value in v2_settings(QUOTA)}
    assert found["memory.max"] == str(1 << 30)
    assert found["memory.swap.max"] == str(1 << 29)
    assert (found["cpu.max"], found["cpu.weight"]) == ("150000 100000", "39")
    assert {n: v for _, n, v in v2_settings(LIFTED)} == {
        "memory.max": "max", "memory.swap.max": "max", "cpu.max": "max", "pids.max": "max",
    }  # fmt: skip


def test_systemd() -> None:
    assert "CPUQuota=150%" in systemd_properties(QUOTA)
    assert f"MemoryMax={1 << 30}" in systemd_properties(QUOTA)
    assert f"MemorySwapMax={1 << 29}" in systemd_properties(QUOTA)
    assert "TasksMax=infinity" in systemd_properties(LIFTED)
    assert systemd_properties(Resources(memory_swap_bytes=-1)) == ["MemorySwapMax=infinity"]


def test_weights() -> None:
    assert (cpu_weight(2), cpu_weight(262144), cpu_weight(10**9)) == (1, 10000, 10000)


PAGES = Resources(hugepage_limits={"2MB": 4 << 20}, unified={"memory.high": "7"}, pids_limit=5)


def test_huge_pages_and_settings_of_v2_alone() -> None:
    assert ("hugetlb", "hugetlb.2MB.limit_in_bytes", str(4 << 20)) in v1_settings(PAGES)
    found = {name: value for _, name, value in v2_settings(PAGES)}
    assert found == {"hugetlb.2MB.max": str(4 << 20), "memory.high": "7", "pids.max": "5"}
    # A scope has no properties for these: they go into its files.
    rest = unknown_to_systemd(v2_settings(PAGES), PAGES)
    assert [name for _, name, _ in rest] == ["hugetlb.2MB.max", "memory.high"]


async def test_they_are_written_into_a_v2_tree(tmp_path: Path) -> None:
    folder = tmp_path / "box"
    folder.mkdir()
    for name in ("hugetlb.2MB.max", "memory.high", "pids.max"):
        (folder / name).touch()
    cgroups = CgroupManager(
        "cgroupfs", hierarchies=Hierarchies(unified=tmp_path), systemd_running=False
    )
    await cgroups.set_limits("/box", PAGES)
    assert (folder / "memory.high").read_text() == "7"
    assert (folder / "hugetlb.2MB.max").read_text() == str(4 << 20)


async def test_other_limits_are_refused() -> None:
    cgroups = CgroupManager("cgroupfs", hierarchies=Hierarchies(), systemd_running=False)
    with pytest.raises(InvalidArgument, match="blkio_weight"):
        await cgroups.set_limits("/x", Resources(blkio_weight=100))


async def test_the_cgroup_that_crun_makes_below_a_scope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limits are there, and a scope without any lifts none of them."""
    told: list[object] = []

    async def set_properties(unit: str, properties: list[str]) -> None:
        told.append((unit, properties))

    monkeypatch.setattr(limits, "set_properties", set_properties)
    scope = tmp_path / "a.slice/b.scope"
    (scope / "container").mkdir(parents=True)
    names = ("cpu.max", "hugetlb.2MB.max")
    for folder in (scope, scope / "container"):
        for name in names:
            (folder / name).write_text("old")
    cgroups = CgroupManager(
        "systemd", hierarchies=Hierarchies(unified=tmp_path), systemd_running=True
    )
    asked = Resources(cpu_quota_us=-1, hugepage_limits={"2MB": 777})
    await cgroups.set_limits("/a.slice/b.scope", asked)
    assert told == [("b.scope", ["CPUQuota="])]
    assert [(scope / "container" / name).read_text() for name in names] == ["max", "777"]
    (scope / "container").rename(tmp_path / "gone")
    await cgroups.set_limits("/a.slice/b.scope", asked)
    assert [(scope / name).read_text() for name in names] == ["old", "777"], (
        "systemd writes the first"
    )


@pytest.mark.parametrize(("file", "told"), [("0\n", "0"), ("max\n", "infinity")])
async def test_systemd_is_told_of_the_swap_that_runc_kept_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, told: str
) -> None:
    """It would write what it knows of, at any change."""
    heard: list[str] = []

    async def set_property(unit: str, properties: list[str]) -> None:
        heard.extend(properties)

    monkeypatch.setattr(limits, "set_properties", set_property)
    (tmp_path / "b.scope").mkdir()
    (tmp_path / "b.scope/memory.swap.max").write_text(file)
    cgroups = CgroupManager(
        "systemd", hierarchies=Hierarchies(unified=tmp_path), systemd_running=True
    )
    await cgroups.set_limits("/b.scope", Resources(cpu_quota_us=-1))
    assert heard == ["CPUQuota=", f"MemorySwapMax={told}"]
    heard.clear()
    await cgroups.set_limits("/b.scope", Resources(memory_swap_bytes=-1))
    assert heard == ["MemorySwapMax=infinity"]
