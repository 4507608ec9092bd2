"""Holds published host ports with sockets, so that nothing else can take them while NAT answers there.

NAT needs no socket (:mod:`.relay` does, for what NAT cannot); but a program, or a second daemon of ours, would take
the port without noticing that its packets go elsewhere. A held TCP socket is bound and not listening, so an address
that NAT does not serve still refuses connections.
"""

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_address, ip_interface
from typing import Final, NamedTuple

from sharedrt.drivers.network.relay.client import Relay, Served
from sharedrt.model.faults import InUse, InvalidArgument
from sharedrt.model.records import PortMapping

_BACKLOG: Final = 128
_TYPES: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


class _Place(NamedTuple):
    """An address of the host on which a mapping takes its port."""

    address: str
    target: str
    """The container's address that is served from there by passing on; empty: NAT does it."""
    optional: bool
    """One of several that the client has not named: a host without IPv6 has no such."""


class HostPorts:
    """Sockets by endpoint. Blocking; used on one thread, in the host's network namespace."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[object, ExitStack]] = {}
        self.relay = Relay()

    def hold(self, endpoint: str, ports: Sequence[PortMapping], addresses: Sequence[str]) -> None:
        """Take all of them, or none. Idempotent for the same ports and addresses.

        Args:
            addresses: the container's, as CIDR.

        Raises:
            InUse: kind ``port``, named ``address:port``.
            InvalidArgument: the host has no such address.
        """
        wanted = (frozenset(ports), tuple(addresses))
        if endpoint in self._held and self._held[endpoint][0] == wanted:
            return
        self.release(endpoint)
        targets: dict[int, str] = {
            ip_interface(cidr).version: str(ip_interface(cidr).ip) for cidr in addresses
        }
        relayed: list[Served] = []
        with ExitStack() as stack:
            for mapping in ports:
                if mapping.direct:
                    continue
                for place in _places(mapping, targets):
                    found = _hold(mapping, place)
                    if found is None:
                        continue
                    stack.enter_context(found)
                    if place.target:
                        target = (place.target, mapping.container_port)
                        relayed.append(Served(mapping.protocol, found, target))
            stack.callback(self.relay.drop, endpoint)
            for served in relayed:
                self.relay.serve(endpoint, served)
            self._held[endpoint] = (wanted, stack.pop_all())

    def release(self, endpoint: str) -> None:
        """Idempotent."""
        if (held := self._held.pop(endpoint, None)) is not None:
            held[1].close()

    def free(self, protocol: str, address: str, port: int) -> bool:
        """Whether the port could be held now."""
        mapping = PortMapping(protocol, port, port, address)
        try:
            for place in _places(mapping, _ANY_CONTAINER):
                if (found := _hold(mapping, place._replace(target=""))) is not None:
                    found.close()
        except InUse:
            return False
        return True

    def close(self) -> None:
        for endpoint in list(self._held):
            self.release(endpoint)
        self.relay.close()


_ANY_CONTAINER: Final = {4: "0.0.0.0"}


def _places(mapping: PortMapping, targets: Mapping[int, str]) -> Iterator[_Place]:
    """NAT serves a family that the container has an address of; the rest is passed on, and so is ``::1``."""
    named = mapping.host_ip
    for address in (named,) if named else ("0.0.0.0", "::"):
        version = ip_address(address).version
        other = targets.get(10 - version, "")
        direct = targets.get(version, "")
        target = ""
        if not direct or address in ("::", "::1"):
            target = direct or other
        if mapping.protocol == "sctp":
            if not direct and named:
                raise InvalidArgument(
                    "host address", address, "the container has no address of its family"
                )
            if not direct:
                continue
            target = ""
        yield _Place(address, target, optional=not named and version == 6)


def _hold(mapping: PortMapping, place: _Place) -> socket.socket | None:
    try:
        return _bind(mapping.protocol, place.address, mapping.host_port, serving=bool(place.target))
    except InvalidArgument:
        if place.optional:
            return None
        raise


def _bind(protocol: str, address: str, port: int, *, serving: bool) -> socket.socket | None:
    """A socket that holds the port and, if ``serving``, takes what comes in; ``None`` where the kernel lacks the
    protocol, so that nobody can."""
    kind, number = _TYPES[protocol]
    version6 = ip_address(address).version == 6
    family = socket.AF_INET6 if version6 else socket.AF_INET
    try:
        holder = socket.socket(family, kind | socket.SOCK_CLOEXEC, number)
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT):
            return None
        raise
    try:
        if version6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Pass by connections in TIME_WAIT, but not by a listener. One that is not to serve listens no more
            # then, keeps the port, and lets nobody else bind it by the same option.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((address, port))
            holder.listen(_BACKLOG if serving else 0)
            if not serving:
                holder.shutdown(socket.SHUT_RD)
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        else:
            if not serving:
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
            holder.bind((address, port))
    except OSError as error:
        holder.close()
        shown = f"[{address}]:{port}" if version6 else f"{address}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise InUse("port", shown, (), "address already in use") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidArgument("host address", address, "not an address of this host") from error
        raise
    return holder
