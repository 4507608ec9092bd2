"""Leases of addresses in a subnet. Pure bookkeeping: the database's unique key has the last word."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from sharedrt.model.faults import InUse, InvalidArgument, ResourceExhausted

_SIZE_MAX: Final = 1 << 16
"""Of a larger subnet only the first addresses are leased: nobody has more containers."""


class AddressPool:
    """The addresses of one subnet. A freed one is leased again only after all others have been, so that
    neighbours and clients do not take a new container for the old one."""

    def __init__(self, subnet: str, gateway: str) -> None:
        self._network = ip_network(subnet)
        self._gateway = gateway
        self._used: dict[str, str] = {}
        self._next = 1

    def lease(self, owner: str, address: str = "") -> str:
        """Take an address, a certain one if given, for ``owner``; as CIDR with the subnet's prefix.

        Raises:
            InUse: kind ``address``. InvalidArgument: outside the subnet, or not for leasing.
            ResourceExhausted: none is left.
        """
        chosen = self._certain(address) if address else self._free()
        self._used[chosen] = owner
        return f"{chosen}/{self._network.prefixlen}"

    def restore(self, cidr: str, owner: str) -> None:
        """Enter a lease from before a restart."""
        address = cidr.partition("/")[0]
        self._used[address] = owner
        self._next = int(ip_address(address)) - int(self._network.network_address) + 1

    def release(self, cidr: str, owner: str) -> None:
        """Give back; nothing happens when somebody else has it."""
        address = cidr.partition("/")[0]
        if self._used.get(address) == owner:
            del self._used[address]

    def _certain(self, text: str) -> str:
        try:
            address = ip_address(text)
        except ValueError as error:
            raise InvalidArgument("address", text, "no IP address") from error
        if address not in self._network:
            raise InvalidArgument("address", text, f"not in subnet {self._network}")
        if not self._leasable(address):
            raise InvalidArgument("address", text, "the subnet's gateway, network or broadcast")
        if (holder := self._used.get(str(address))) is not None:
            raise InUse("address", text, (holder,))
        return str(address)

    def _free(self) -> str:
        size = min(self._network.num_addresses, _SIZE_MAX)
        first = int(self._network.network_address)
        kind = type(self._network.network_address)
        for step in range(size):
            offset = (self._next + step) % size
            address = kind(first + offset)
            if self._leasable(address) and str(address) not in self._used:
                self._next = offset + 1
                return str(address)
        raise ResourceExhausted("addresses", f"all of subnet {self._network} are in use")

    def _leasable(self, address: IPv4Address | IPv6Address) -> bool:
        network = self._network
        if str(address) == self._gateway or address == network.network_address:
            return False
        return network.version == 6 or address != network.broadcast_address


def first_host(subnet: str) -> str:
    """The address that a gateway has by custom."""
    return str(next(iter(ip_network(subnet).hosts())))


def overlaps(subnet: str, others: Iterable[str]) -> str:
    """The first of ``others`` that shares an address with ``subnet``, or nothing."""
    network = ip_network(subnet)
    for other in others:
        theirs = ip_network(other)
        if theirs.version == network.version and network.overlaps(theirs):
            return other
    return ""


def free_subnet(pools: Iterable[str], taken: Iterable[str], prefix: int = 22) -> str:
    """The first subnet of the pools that overlaps nothing taken. Raises ResourceExhausted.

    Pools smaller than ``prefix`` are taken whole.
    """
    known = list(taken)
    for pool in pools:
        network = ip_network(pool)
        length = max(prefix, network.prefixlen) if network.version == 4 else 64
        for subnet in network.subnets(new_prefix=max(length, network.prefixlen)):
            if not overlaps(str(subnet), known):
                return str(subnet)
    raise ResourceExhausted("subnets", "every configured address pool is in use")
