"""Which cgroup hierarchies a host has mounted, read from ``/proc/self/mountinfo`` (proc(5))."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

V1_CONTROLLERS: Final = frozenset(
    [
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    ]
)
SYSTEMD_HIERARCHY: Final = "name=systemd"


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Mount points: of the v2 hierarchy, and of each v1 controller (co-mounted ones share one).

    ``v1`` also has ``name=systemd`` where that is mounted: a hierarchy without a controller.
    """

    unified: Path | None = None
    v1: Mapping[str, Path] = field(default_factory=dict)
    unified_controllers: frozenset[str] = frozenset()

    @property
    def version(self) -> int:
        """2 when the v2 hierarchy has all controllers, else 1 (also on hybrid hosts)."""
        return 1 if any(name in V1_CONTROLLERS for name in self.v1) else 2

    @property
    def left_over(self) -> frozenset[str]:
        """Controllers still on the v2 hierarchy of a v1 host. crun refuses to run there (its 'hybrid mode')."""
        return self.unified_controllers if self.version == 1 else frozenset()

    def roots(self) -> tuple[Path, ...]:
        """Every hierarchy's mount point, once."""
        found = dict.fromkeys(self.v1.values())
        if self.unified is not None:
            found[self.unified] = None
        return tuple(found)


def parse_hierarchies(mountinfo: str) -> Hierarchies:
    """Hierarchies of a mountinfo text, without the v2 hierarchy's controllers (those are in a file of its own).

    Of several mounts of one controller the shallowest wins: containers' root file systems repeat them.
    """
    unified: Path | None = None
    v1: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if not separator or len(fields) < 5 or len(tail) < 3:
            continue
        mount_point = Path(_unescape(fields[4]))
        if tail[0] == "cgroup2":
            unified = _shallower(unified, mount_point)
        elif tail[0] == "cgroup":
            for name in tail[2].split(","):
                if name in V1_CONTROLLERS or name == SYSTEMD_HIERARCHY:
                    v1[name] = _shallower(v1.get(name), mount_point)
    return Hierarchies(unified, v1)


def _shallower(old: Path | None, new: Path) -> Path:
    return new if old is None or len(new.parts) < len(old.parts) else old


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of blank, tab, newline and backslash."""
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def read_hierarchies(proc: Path = Path("/proc")) -> Hierarchies:
    """The host's hierarchies as they are now (small reads only)."""
    found = parse_hierarchies((proc / "self/mountinfo").read_text())
    if found.unified is None:
        return found
    try:
        controllers = (found.unified / "cgroup.controllers").read_text().split()
    except FileNotFoundError:
        controllers = []
    return Hierarchies(found.unified, found.v1, frozenset(controllers))
