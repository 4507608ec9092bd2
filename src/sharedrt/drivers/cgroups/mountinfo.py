"""Which cgroup hierarchies a host has, by ``mountinfo`` and ``cgroup`` of ``/proc/self`` (proc(5), cgroups(7))."""

import contextlib
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
_V1_NAMES: Final = {"io": "blkio"}
"""Controllers that v2 calls otherwise."""


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Mount points: of the v2 hierarchy, and of each v1 controller (co-mounted ones share one).

    ``v1`` also has ``name=systemd`` where that is mounted: a hierarchy without a controller.
    """

    unified: Path | None = None
    v1: Mapping[str, Path] = field(default_factory=dict)
    unified_controllers: frozenset[str] = frozenset()
    unmounted: frozenset[str] = frozenset()
    """v1 controllers of a hierarchy that lives on without a mount: it was unmounted while it had cgroups."""

    @property
    def version(self) -> int:
        """2 when the v2 hierarchy has all controllers, else 1 (also on hybrid hosts)."""
        return 1 if any(name in V1_CONTROLLERS for name in self.v1) else 2

    @property
    def left_over(self) -> frozenset[str]:
        """Controllers of a v1 host, by their v1 names, that are not mounted as v1. crun cannot run there.

        It refuses those still on the v2 hierarchy ('hybrid mode'). Where a hierarchy lives on unmounted, it makes
        folders in the tmpfs below, which limit nothing.
        """
        if self.version != 1:
            return frozenset()
        return self.unmounted | {_V1_NAMES.get(name, name) for name in self.unified_controllers}

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
    unmounted = _v1_memberships((proc / "self/cgroup").read_text()) - found.v1.keys()
    controllers: list[str] = []
    if found.unified is not None:
        with contextlib.suppress(FileNotFoundError):
            controllers = (found.unified / "cgroup.controllers").read_text().split()
    return Hierarchies(found.unified, found.v1, frozenset(controllers), unmounted)


def _v1_memberships(cgroup: str) -> frozenset[str]:
    """Controllers of all v1 hierarchies that are alive, from ``/proc/PID/cgroup``: lines of ``ID:CONTROLLERS:PATH``."""
    names = {name for line in cgroup.splitlines() for name in line.split(":", 2)[1].split(",")}
    return frozenset(names & V1_CONTROLLERS)
