"""Details of the recorded trees, and of a cgroup that is not there."""

from pathlib import Path

from sharedrt.drivers.cgroups import Hierarchies
from sharedrt.drivers.cgroups.details import read_details
from sharedrt.model.drivers import CgroupDetails, HugetlbStats
from tests.drivers.cgroups.test_stats import FIXTURES, V1, V2


def test_v2() -> None:
    details = read_details(V2, "/kubepods/pod1")
    assert details.hugetlb == (HugetlbStats("2MB", 4194304),)
    assert (details.oom_kills, details.memory_low_bytes) == (1, 33554432)
    assert details.kernel_memory_bytes == 4194304


def test_v1() -> None:
    with_pages = Hierarchies(v1={**V1.v1, "hugetlb": FIXTURES / "v1" / "hugetlb"})
    details = read_details(with_pages, "/box")
    assert details.hugetlb == (HugetlbStats("1GB", 0, 0), HugetlbStats("2MB", 2097152, 4194304))
    assert (details.oom_kills, details.kernel_memory_bytes) == (2, 1458176)
    assert details.memory_low_bytes == 0  # the kernel's word for none
    assert read_details(V1, "/box").hugetlb == ()


def test_gone() -> None:
    assert read_details(V1, "/gone") == CgroupDetails()
    assert read_details(V2, "/gone") == CgroupDetails()


def test_below_a_scope(tmp_path: Path) -> None:
    """crun's own cgroup in systemd's scope has the limits."""
    for folder, low in (("a.scope", "0"), ("a.scope/container", "4096"), ("b.scope", "8192")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "memory.low").write_text(f"{low}\n")
    tree = Hierarchies(unified=tmp_path)
    assert read_details(tree, "/a.scope").memory_low_bytes == 4096
    assert read_details(tree, "/b.scope").memory_low_bytes == 8192
