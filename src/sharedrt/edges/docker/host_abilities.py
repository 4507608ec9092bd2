"""What the host's cgroups can hold and which switches are on, for ``/info``: read when asked, since both change."""

import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from sharedrt.edges.docker.host_limits import (
    BLKIO_WEIGHT,
    MEMORY_SWAP,
    MEMORY_SWAPPINESS,
    OOM_KILL_DISABLE,
)

_CGROUPS: Final = Path("/sys/fs/cgroup")


def cgroup_abilities(version: int, root: Path = _CGROUPS) -> dict[str, bool]:
    """The limits that this host's cgroups have, by the controllers that are there."""
    if version == 2:
        controllers = set(_read(root / "cgroup.controllers").split())
        cpu, memory = "cpu" in controllers, "memory" in controllers
        swap, cpuset, pids = memory, "cpuset" in controllers, "pids" in controllers
    else:
        cpu = (root / "cpu/cpu.cfs_quota_us").exists()
        memory = (root / "memory/memory.limit_in_bytes").exists()
        swap = (root / "memory/memory.memsw.limit_in_bytes").exists()
        cpuset, pids = (root / "cpuset").is_dir(), (root / "pids").is_dir()
    return {
        "MemoryLimit": memory,
        "SwapLimit": swap,
        "CpuCfsPeriod": cpu,
        "CpuCfsQuota": cpu,
        "CPUShares": cpu,
        "CPUSet": cpuset,
        "PidsLimit": pids,
    }


def optional_files(version: int, root: Path = _CGROUPS) -> frozenset[str]:
    """Of the limits that a kernel may be built without, those that there are: names of ``host_limits``."""
    if version == 2:
        # None at all: it is mounted elsewhere, and nothing is known.
        controllers = set(_read(root / "cgroup.controllers").split()) or {"io", "memory"}
        found = {BLKIO_WEIGHT: "io" in controllers, MEMORY_SWAP: "memory" in controllers}
    else:
        found = {
            BLKIO_WEIGHT: (root / "blkio/blkio.weight").exists()
            or (root / "blkio/blkio.bfq.weight").exists(),
            MEMORY_SWAP: (root / "memory/memory.memsw.limit_in_bytes").exists(),
            MEMORY_SWAPPINESS: (root / "memory/memory.swappiness").exists(),
            OOM_KILL_DISABLE: (root / "memory/memory.oom_control").exists(),
        }
    return frozenset(name for name, there in found.items() if there)


def known_sysctls(names: Iterable[str]) -> frozenset[str]:
    """Those that this kernel has."""
    return frozenset(n for n in names if Path("/proc/sys", n.replace(".", "/")).exists())


def has_selinux() -> bool:
    """Whether labels mean something here."""
    return Path("/sys/fs/selinux/enforce").exists()


def sysctl_is_on(name: str) -> bool:
    """Whether ``/proc/sys/NAME`` holds 1."""
    return _read(Path("/proc/sys", name)).strip() == "1"


def recursive_read_only(release: str = "") -> bool:
    """Whether what is mounted below a read-only bind can be made read-only too: mount_setattr(2), Linux 5.12."""
    version = re.match(r"(\d+)\.(\d+)", release or os.uname().release)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 12)


@cache
def has_ipv6() -> bool:
    """Whether the kernel has IPv6 and it is not turned off as a whole."""
    return Path("/proc/net/if_inet6").exists()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the kernel was built without it
