"""Holds published host ports with sockets, so that nothing else can take them while NAT answers there.

NAT needs no socket; but a program, or a second daemon of ours, would take the port without noticing that its
packets go elsewhere. A held TCP socket is bound and not listening, so an address that NAT does not
serve still refuses connections.
"""

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Final

from sharedrt.model.faults import InUse, InvalidArgument
from sharedrt.model.records import PortMapping

_TYPES: Final = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


class HostPorts:
    """Sockets by endpoint. Blocking; used on one thread, in the host's network namespace."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[frozenset[PortMapping], ExitStack]] = {}

    def hold(self, endpoint: str, ports: Sequence[PortMapping], *, ipv6: bool) -> None:
        """Take all of them, or none. Idempotent for the same ports.

        Args:
            ipv6: a mapping of no or any host address takes the IPv6 port as well.

        Raises:
            InUse: kind ``port``, named ``address:port``.
            InvalidArgument: the host has no such address.
        """
        wanted = frozenset(ports)
        if endpoint in self._held and self._held[endpoint][0] == wanted:
            return
        self.release(endpoint)
        with ExitStack() as stack:
            for mapping in ports:
                for address in _addresses(mapping.host_ip, ipv6):
                    if (found := _bind(mapping.protocol, address, mapping.host_port)) is not None:
                        stack.enter_context(found)
            self._held[endpoint] = (wanted, stack.pop_all())

    def release(self, endpoint: str) -> None:
        """Idempotent."""
        if (held := self._held.pop(endpoint, None)) is not None:
            held[1].close()

    def free(self, protocol: str, address: str, port: int) -> bool:
        """Whether the port could be held now."""
        try:
            for each in _addresses(address, False):
                if (found := _bind(protocol, each, port)) is not None:
                    found.close()
        except InUse:
            return False
        return True

    def close(self) -> None:
        for endpoint in list(self._held):
            self.release(endpoint)


def _addresses(host_ip: str, ipv6: bool) -> Sequence[str]:
    if not host_ip:
        return ("0.0.0.0", "::") if ipv6 else ("0.0.0.0",)
    return (host_ip,)


def _bind(protocol: str, address: str, port: int) -> socket.socket | None:
    """A socket that holds the port; ``None`` where the kernel lacks the protocol, so that nobody can."""
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
            # Pass by connections in TIME_WAIT, but not by a listener; then listen no more, keep the port,
            # and let nobody else bind it by the same option.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((address, port))
            holder.listen(0)
            holder.shutdown(socket.SHUT_RD)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        else:
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
