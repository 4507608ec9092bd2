"""Networks of bridges and parent interfaces."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sharedrt.model.records import PortMapping


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """A bridge as it shall be; addresses in CIDR form, the bridge's own."""

    name: str
    addresses: tuple[str, ...]
    mtu: int = 1500
    masquerade: bool = True
    internal: bool = False
    inter_container: bool = True
    isolation_group: str = ""
    """Bridges of different groups never reach each other (a namespace's name)."""
    routed: bool = False
    """Its containers may be reached from outside the host at any port, as pods are."""
    direct: tuple[int, ...] = ()
    """Families without NAT: its containers are reached at their own addresses, at published ports alone."""
    near: tuple[str, ...] = ()
    """Bridges whose containers reach published ports there too."""
    trusted: tuple[str, ...] = ()
    """Interfaces of the host from which published ports are reached at the containers' own addresses."""


@dataclass(frozen=True, slots=True)
class ParentConfig:
    """The link of the host on which macvlan and ipvlan interfaces sit.

    ``vlan`` and ``base``: a subinterface for that VLAN of the link ``base``, made when it is not there.
    ``private``: a link that leads nowhere, made here, for networks that have no way out. ``kind`` is ``macvlan`` or
    ``ipvlan``.
    """

    name: str
    kind: str
    base: str = ""
    vlan: int = 0
    private: bool = False


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One interface in a network namespace, plugged into a bridge, with its published ports.

    For ``driver`` ``macvlan`` and ``ipvlan``, ``bridge`` is the parent link's name, and no ports are published.
    """

    id: str
    bridge: str
    netns: Path
    interface: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    ports: tuple[PortMapping, ...] = ()
    mtu: int = 1500
    ingress_bps: int = 0
    """Bits a second towards the container; 0: no bound."""
    egress_bps: int = 0
    driver: str = "bridge"
    mode: str = ""
    """``bridge private vepa passthru`` of macvlan, ``l2 l3 l3s`` of ipvlan."""
    flag: str = ""
    """``bridge private vepa`` of ipvlan."""
    device_route: bool = False
    """The way to the world is the interface itself, without a gateway (ipvlan's l3 and l3s)."""
    sysctls: tuple[str, ...] = ()
    """``NAME=VALUE`` each, with ``IFNAME`` in the place of the interface's name."""
    link_local: tuple[str, ...] = ()
    """Further addresses, without a prefix length; no port leads to them."""
    opened: bool = False
    """Published ports are reached at its own addresses too, from where its bridge trusts."""


class BridgeNetwork(Protocol):
    """Bridges, veths and one nftables table (netlink; no process per container)."""

    async def ensure_bridge(self, config: BridgeConfig) -> None:
        """Make or mend the bridge, its addresses and its rules. Idempotent."""
        ...

    async def remove_bridge(self, name: str) -> None:
        """If we have made it, and its rules in any case. Idempotent."""
        ...

    async def ensure_parent(self, config: ParentConfig) -> None:
        """Make or find the parent link. Idempotent.

        Raises:
            FailedPrecondition: it is not there and cannot be made, or the kernel knows no links of that kind.
        """
        ...

    async def remove_parent(self, name: str) -> None:
        """If we have made it. Idempotent."""
        ...

    async def parents_on_host(self) -> Sequence[str]:
        """Names of the parent links that we made, for removing what no row owns."""
        ...

    async def connect(self, config: EndpointConfig) -> None:
        """Plug in and publish, or nothing at all. Idempotent under the same id."""
        ...

    async def disconnect(self, config: EndpointConfig) -> None:
        """Idempotent, also when the network namespace is gone."""
        ...

    async def point_names(
        self, netns: Path, server: str, ports: tuple[int, int] = (53, 53)
    ) -> None:
        """Let port 53 of 127.0.0.11 in a network namespace lead to a server (IPv4); empty: nowhere. Idempotent,
        also when the namespace is gone.

        Args:
            ports: the server's, of UDP and of TCP.
        """
        ...

    async def endpoints_on_host(self) -> Sequence[str]:
        """Ids of endpoints that have a veth or nft elements, for removing what no row owns."""
        ...

    async def bridges_on_host(self) -> Sequence[str]:
        """Names of the bridges that we made or have rules for, for removing what no row owns."""
        ...

    async def host_port_free(self, protocol: str, address: str, port: int) -> bool:
        """Whether nothing on the host listens there (checked by binding)."""
        ...

    async def host_subnets(self) -> Sequence[str]:
        """CIDRs that the host has routes to, other than over bridges of ours."""
        ...

    async def mend(self) -> bool:
        """Put our rules back if others changed or removed them; whether that was needed."""
        ...

    async def rules_changed(self) -> None:
        """Wait until somebody, we not left out, may have changed rules that matter to us."""
        ...

    async def problems(self) -> Sequence[str]:
        """What of the host's firewall will stop our containers' traffic, in words for an administrator."""
        ...

    async def flush(self) -> None:
        """Remove the table and all bridges of ours: the purge."""
        ...
