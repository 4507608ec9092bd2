"""Finding hierarchies: v2 alone, v1, hybrid, co-mounted controllers, repeated mounts."""

from pathlib import Path

from sharedrt.drivers.cgroups.mountinfo import Hierarchies, parse_hierarchies, read_hierarchies

UNIFIED = "25 23 0:22 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
99 80 0:32 / /run/c/rootfs/sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:39 / /sys/fs/cgroup/with\\040blank rw - cgroup cgroup rw,pids
"""


def test_v2_alone() -> None:
    found = parse_hierarchies(UNIFIED)
    assert (found.version, found.unified, found.v1) == (2, Path("/sys/fs/cgroup"), {})
    assert found.roots() == (Path("/sys/fs/cgroup"),)


def test_hybrid_is_v1() -> None:
    found = parse_hierarchies(HYBRID)
    assert found.version == 1
    assert found.v1["cpu"] == found.v1["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found.v1["memory"] == Path("/sys/fs/cgroup/memory")
    assert found.v1["pids"] == Path("/sys/fs/cgroup/with blank")
    assert found.v1["name=systemd"] == Path("/sys/fs/cgroup/systemd")
    assert len(found.roots()) == 5


def test_the_systemd_hierarchy_alone_does_not_make_v1() -> None:
    text = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n" + UNIFIED
    assert parse_hierarchies(text).version == 2


def test_odd_lines_are_skipped() -> None:
    assert parse_hierarchies("\nnonsense\n1 2 3 - cgroup\n").v1 == {}


MEMORY = "2 1 0:2 / /c/memory rw - cgroup cgroup rw,memory\n"


def read(folder: Path, controllers: str, mounts: str, memberships: str) -> Hierarchies:
    """The host whose v2 hierarchy has ``controllers``, and ``mounts`` beside it."""
    unified = folder / "unified"
    unified.mkdir()
    (unified / "cgroup.controllers").write_text(controllers)
    (folder / "self").mkdir()
    lines = f"1 1 0:1 / {unified} rw - cgroup2 cgroup2 rw\n{mounts}"
    (folder / "self/mountinfo").write_text(lines)
    (folder / "self/cgroup").write_text(memberships)
    return read_hierarchies(folder)


def test_left_over_controllers_have_their_v1_names(tmp_path: Path) -> None:
    found = read(tmp_path, "hugetlb io misc\n", MEMORY, "4:memory:/\n0::/\n")
    assert found.left_over == {"blkio", "hugetlb", "misc"}


def test_nothing_is_left_over_on_v2(tmp_path: Path) -> None:
    found = read(tmp_path, "hugetlb io\n", "", "0::/a:b\n")
    assert found.left_over == frozenset()
    assert found.unified_controllers == {"hugetlb", "io"}


def test_a_hierarchy_that_lives_on_unmounted_is_left_over(tmp_path: Path) -> None:
    memberships = "16:hugetlb,cpuset:/\n9:name=systemd:/\n4:memory:/a,b:c\n0::/\n"
    found = read(tmp_path, "\n", MEMORY, memberships)
    assert found.unmounted == found.left_over == {"hugetlb", "cpuset"}
