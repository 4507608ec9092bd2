"""Pods' namespaces and their networks by CNI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sharedrt.model.drivers.stats import NetworkStats
from sharedrt.model.records import DnsConfig, Json, PortMapping


class SandboxNamespaces(Protocol):
    """Pins network, IPC and UTS namespaces as bind mounts; made in a short-lived thread or process."""

    async def create(
        self,
        directory: Path,
        kinds: frozenset[str],
        *,
        hostname: str,
        sysctls: Mapping[str, str],
        user_mappings: Sequence[tuple[int, int, int]] = (),
        group_mappings: Sequence[tuple[int, int, int]] = (),
    ) -> Mapping[str, Path]:
        """Make the namespaces ``kinds`` (out of ``net ipc uts user``), set hostname and sysctls there, bring up
        ``lo``, and pin each at ``directory/KIND``. Idempotent: existing pins are replaced.

        Raises:
            InvalidArgument: an unknown or forbidden sysctl, by name.
        """
        ...

    async def remove(self, directory: Path) -> None:
        """Unpin and remove. Idempotent."""
        ...

    async def tcp_socket(self, netns: Path, family: int) -> int:
        """File descriptor of a new TCP socket of that network namespace, the caller's to close: wherever it
        is used, it sees that namespace's addresses and routes.

        Raises:
            Internal: the namespace is gone.
        """
        ...

    async def network_stats(self, netns: Path) -> Sequence[NetworkStats]:
        """Interfaces of that network namespace, without ``lo``, whether or not a process is in it.

        Raises:
            Internal: the namespace is gone.
        """
        ...


class PodCgroups(Protocol):
    """Empty cgroups by which cAdvisor, in a kubelet, knows pods that have no process of their own."""

    async def mark_pod(self, parent: str, id: str, shown: str) -> None:
        """Make the cgroup ``id`` below ``parent`` anew, as clients write it: a path or a slice. Nothing happens where
        the parent is not there.

        Args:
            shown: the container that it is made for, to be told by :meth:`pod_mark`.

        Raises:
            Internal: the kernel refused. InvalidArgument: no parent for this host's cgroup driver.
        """
        ...

    async def pod_mark(self, parent: str, id: str) -> str:
        """The container that it was made for; empty when there is none. Raises as :meth:`mark_pod` does."""
        ...

    async def unmark_pod(self, parent: str, id: str) -> None:
        """Remove it. Idempotent. Raises as :meth:`mark_pod` does."""
        ...


@dataclass(frozen=True, slots=True)
class CniResult:
    """What ADD gave: addresses (CIDR), DNS, and the raw result, needed for DEL."""

    addresses: tuple[str, ...]
    raw: Json
    dns: DnsConfig = DnsConfig()


@dataclass(frozen=True, slots=True)
class CniRequest:
    """One pod's attachment."""

    container_id: str
    netns: Path
    args: Mapping[str, str]
    """CNI_ARGS: K8S_POD_NAME, K8S_POD_NAMESPACE, K8S_POD_UID, K8S_POD_INFRA_CONTAINER_ID, IgnoreUnknown."""
    port_mappings: tuple[PortMapping, ...] = ()
    ingress_bps: int = 0
    egress_bps: int = 0
    cgroup_path: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


class CniNetwork(Protocol):
    """The default network of the CNI configuration folder, re-read when it changes."""

    def configured(self) -> str:
        """Name of the network; empty when the folder has no usable configuration."""
        ...

    def problem(self) -> str:
        """Why the newest configuration cannot be used; empty when all is well or nothing is there."""
        ...

    async def add(self, request: CniRequest) -> CniResult:
        """Raises Unavailable with the plugin's own words; what earlier plugins did has been undone."""
        ...

    async def delete(self, request: CniRequest, previous: Json) -> None: ...
