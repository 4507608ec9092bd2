"""What translation needs to know of the host."""

import re
from dataclasses import dataclass

from sharedrt.services.contracts import HostInfo


@dataclass(frozen=True, slots=True)
class HostAbilities:
    """Facts about the kernel that decide whether a request can be honoured."""

    hostname: str
    kernel: tuple[int, int]
    cgroup_v2: bool
    apparmor: bool
    selinux: bool

    @property
    def recursive_read_only(self) -> bool:
        """mount_setattr(2) with AT_RECURSIVE, Linux 5.12."""
        return self.kernel >= (5, 12)

    @property
    def idmapped_overlay(self) -> bool:
        """overlayfs over idmapped lower layers, Linux 5.19: what a pod's user namespace needs."""
        return self.kernel >= (5, 19)


def abilities_of(host: HostInfo) -> HostAbilities:
    options = " ".join(host.security_options)
    version = re.match(r"(\d+)\.(\d+)", host.kernel)
    return HostAbilities(
        hostname=host.hostname,
        kernel=(int(version[1]), int(version[2])) if version else (0, 0),
        cgroup_v2=host.cgroup_version == 2,
        apparmor="apparmor" in options,
        selinux="selinux" in options,
    )
