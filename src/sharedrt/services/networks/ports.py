"""Settling which host ports an endpoint gets."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from sharedrt.model.drivers import BridgeNetwork
from sharedrt.model.faults import InvalidArgument, ResourceExhausted
from sharedrt.model.records import PortMapping

FIRST: Final = 32768
LAST: Final = 60999
"""Linux's own range for outgoing connections, from which dockerd takes them too: no service is expected there."""

_PROTOCOLS: Final = ("tcp", "udp", "sctp")


class HostPortChooser:
    """Gives ports for mappings that leave the host port open (0, or a range)."""

    def __init__(self, bridge: BridgeNetwork) -> None:
        self._bridge = bridge
        self._next = FIRST

    async def settle(
        self,
        ports: Sequence[PortMapping],
        taken: Callable[[str, int], bool],
    ) -> tuple[PortMapping, ...]:
        """The mappings without doubles, and open host ports chosen.

        Args:
            taken: whether (protocol, port) is known to be in use already.

        Raises:
            InvalidArgument. ResourceExhausted: no port is free.
        """
        settled: list[PortMapping] = []
        chosen: dict[PortMapping, int] = {}
        for each in dict.fromkeys(ports):
            _check(each)
            if is_open(each):
                # The same port on every address of the host for one container port, as Docker shows it.
                key = replace(each, host_ip="")
                twins = {s.host_ip for s in settled if chosen.get(key) == s.host_port}
                if key not in chosen or each.host_ip in twins:
                    chosen[key] = await self._choose(each, taken, settled)
                each = replace(each, host_port=chosen[key], host_port_last=0)
            settled.append(each)
        return tuple(settled)

    async def _choose(
        self,
        mapping: PortMapping,
        taken: Callable[[str, int], bool],
        settled: Sequence[PortMapping],
    ) -> int:
        ours = {each.host_port for each in settled if each.protocol == mapping.protocol}
        for port in self._candidates(mapping):
            if (
                port not in ours
                and not taken(mapping.protocol, port)
                and await self._bridge.host_port_free(mapping.protocol, mapping.host_ip, port)
            ):
                return port
        if mapping.host_port:
            raise ResourceExhausted("host ports", "all ports are allocated")
        raise ResourceExhausted("host ports", f"none of {FIRST}-{LAST} is free")

    def _candidates(self, mapping: PortMapping) -> Iterator[int]:
        if mapping.host_port:
            yield from range(mapping.host_port, mapping.host_port_last + 1)
            return
        for _ in range(LAST - FIRST + 1):
            port = self._next
            self._next = port + 1 if port < LAST else FIRST
            yield port


def is_open(mapping: PortMapping) -> bool:
    """Whether the host port is still to be chosen."""
    return not mapping.direct and (not mapping.host_port or bool(mapping.host_port_last))


def without_nat(
    ports: Sequence[PortMapping], direct: Collection[int], families: Collection[int]
) -> Iterator[PortMapping]:
    """The mappings as a network has them whose ``direct`` families are reached at the containers' own addresses.

    Args:
        families: that the network has. A mapping without a host address is one for each.
    """
    for mapping in ports:
        plain = replace(mapping, direct=False)
        if not direct:
            yield plain
            continue
        addresses = [ip_address(plain.host_ip)] if plain.host_ip else map(_unspecified, families)
        for address in addresses:
            if address.version in direct:
                # The host's address says no more than the family.
                yield replace(plain, host_ip=str(_unspecified(address.version)), direct=True)
            else:
                yield replace(plain, host_ip=str(address))


def _unspecified(version: int) -> IPv4Address | IPv6Address:
    return ip_address("0.0.0.0" if version == 4 else "::")


def _check(mapping: PortMapping) -> None:
    if mapping.protocol not in _PROTOCOLS:
        raise InvalidArgument("protocol", mapping.protocol, "not one of tcp, udp, sctp")
    if not 0 < mapping.container_port < 65536:
        raise InvalidArgument("port", mapping.container_port, "not between 1 and 65535")
    if not 0 <= mapping.host_port < 65536:
        raise InvalidArgument("host port", mapping.host_port, "not between 0 and 65535")
    last = mapping.host_port_last
    if last and not mapping.host_port <= last < 65536:
        raise InvalidArgument("host port range", f"{mapping.host_port}-{last}", "not in order")
