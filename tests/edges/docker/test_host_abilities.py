"""What ``/info`` says of cgroups, on trees of both versions."""

from pathlib import Path

import pytest

from sharedrt.edges.docker.host_abilities import (
    cgroup_abilities,
    optional_files,
    recursive_read_only,
    sysctl_is_on,
)
from sharedrt.edges.docker.host_limits import BLKIO_WEIGHT, MEMORY_SWAP


def test_version_2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb\n")
    abilities = cgroup_abilities(2, tmp_path)
    assert abilities["MemoryLimit"]
    assert abilities["CpuCfsQuota"]
    assert abilities["CPUSet"]
    assert not abilities["PidsLimit"]


def test_version_1(tmp_path: Path) -> None:
    for name in ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/tasks"):
        path = tmp_path / name
        path.parent.mkdir()
        path.touch()
    abilities = cgroup_abilities(1, tmp_path)
    assert abilities["MemoryLimit"]
    assert not abilities["SwapLimit"]
    assert abilities["PidsLimit"]
    assert not abilities["CPUSet"]


def test_nothing_there(tmp_path: Path) -> None:
    for version in (1, 2):
        assert not any(cgroup_abilities(version, tmp_path).values())
    assert not sysctl_is_on("no/such/switch")


def test_files_that_not_every_kernel_has(tmp_path: Path) -> None:
    assert optional_files(1, tmp_path) == frozenset()
    (tmp_path / "blkio").mkdir()
    (tmp_path / "blkio/blkio.bfq.weight").touch()
    assert optional_files(1, tmp_path) == {BLKIO_WEIGHT}
    assert optional_files(2, tmp_path) == {BLKIO_WEIGHT, MEMORY_SWAP}
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert optional_files(2, tmp_path) == {MEMORY_SWAP}


@pytest.mark.parametrize(
    ("release", "can"),
    [("5.11.22-generic", False), ("5.12.0", True), ("6.1.0-13-amd64", True), ("odd", False)],
)
def test_recursive_read_only(release: str, can: bool) -> None:
    assert recursive_read_only(release) is can
