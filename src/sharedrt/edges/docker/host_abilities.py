"""What the host's cgroups can hold and which switches are on, for ``/info``: read when asked, since both change."""

import os
import re
from pathlib import Path
from typing import Final

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


def sysctl_is_on(name: str) -> bool:
    """Whether ``/proc/sys/NAME`` holds 1."""
    return _read(Path("/proc/sys", name)).strip() == "1"


def recursive_read_only(release: str = "") -> bool:
    """Whether what is mounted below a read-only bind can be made read-only too: mount_setattr(2), Linux 5.12."""
    version = re.match(r"(\d+)\.(\d+)", release or os.uname().release)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 12)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the kernel was built without it
