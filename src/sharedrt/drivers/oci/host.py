"""What this host and this daemon can give to containers, read once at start-up."""

import os
import platform
import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sharedrt.drivers.oci.capabilities import own_bounding_set, parse_mask
from sharedrt.drivers.oci.ports import CgroupFeatures
from sharedrt.drivers.oci.seccomp import Machine

RLIMITS: Final = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
} | {"locks": 10}
"""Names as Docker and OCI use them, lower case and without RLIMIT_; Python has no RLIMIT_LOCKS."""

_GOARCH: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "loongarch64": "loong64",
}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The host's abilities and the daemon's own bounds, which no container can exceed."""

    cgroups: CgroupFeatures
    bounding: frozenset[str]
    machine: Machine
    hard_limits: Mapping[str, int] = field(default_factory=dict)
    """Own hard limits (-1: none) that a container's cannot exceed; empty with CAP_SYS_RESOURCE."""
    least_oom_score_adj: int = -1000
    apparmor: bool = False
    apparmor_default: str = ""
    """The default profile, where it is loaded."""
    selinux: bool = False
    cgroup_namespaces: bool = True


def read_host(cgroups: CgroupFeatures, *, apparmor_default: str = "sharedrt-default") -> HostFacts:
    """Look at the running system (small procfs and sysfs reads)."""
    free = "CAP_SYS_RESOURCE" in _own_effective()
    apparmor = _first_line("/sys/module/apparmor/parameters/enabled") == "Y"
    return HostFacts(
        cgroups=cgroups,
        bounding=own_bounding_set(),
        machine=Machine(_GOARCH.get(platform.machine(), platform.machine()), kernel_version(platform.release())),
        hard_limits={} if free else {name: _hard(number) for name, number in RLIMITS.items()},
        least_oom_score_adj=-1000 if free else int(_first_line("/proc/self/oom_score_adj") or 0),
        apparmor=apparmor,
        apparmor_default=apparmor_default if apparmor and _loaded(apparmor_default) else "",
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        cgroup_namespaces=os.path.exists("/proc/self/ns/cgroup"),
    )  # fmt: skip


def kernel_version(release: str) -> tuple[int, int]:
    """(major, minor) of uname's release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _own_effective() -> frozenset[str]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return parse_mask(line.split()[1])
    return frozenset()


def _hard(number: int) -> int:
    try:
        return resource.getrlimit(number)[1]
    except ValueError:
        return -1


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _loaded(profile: str) -> bool:
    return any(
        line.startswith(f"{profile} ")
        for line in _first_line("/sys/kernel/security/apparmor/profiles").splitlines()
    )
