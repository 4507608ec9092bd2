"""Leases of addresses in a subnet. Pure bookkeeping: the database's unique key has the last word."""

from collections.abc import Collection, Iterable
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from sharedrt.model.faults import InUse, InvalidArgument, ResourceExhausted

_SIZE_MAX: Final = 1 << 16
"""Of a larger subnet only the first addresses are leased: nobody has more containers."""


class AddressPool:
    """The addresses of one subnet. A freed one is leased again only after all others have been, so that
    neighbours and clients do not take a new container for the old one.

    Args:
        within: CIDR inside the subnet from which addresses are chosen; one that is asked for may be outside.
        reserved: addresses that are never leased.
    """

    def __init__(
        self, subnet: str, gateway: str, within: str = "", reserved: Collection[str] = ()
    ) -> None:
        self._network = ip_network(subnet)
        self._within = ip_network(within) if within else self._network
        self._gateway = gateway
        self._reserved = frozenset(str(ip_address(address)) for address in reserved)
        self._used: dict[str, str] = {}
        self._next = 1 if self._within == self._network and self._network.num_addresses > 2 else 0

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
        if (found := ip_address(address)) in self._within:
            self._next = int(found) - int(self._within.network_address) + 1

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
        if str(address) in self._reserved:
            raise InUse("address", text, (), "reserved as an auxiliary address")
        if (holder := self._used.get(str(address))) is not None:
            raise InUse("address", text, (holder,))
        return str(address)

    def _free(self) -> str:
        size = min(self._within.num_addresses, _SIZE_MAX)
        first = int(self._within.network_address)
        kind = type(self._network.network_address)
        for step in range(size):
            offset = (self._next + step) % size
            address = kind(first + offset)
            text = str(address)
            if self._leasable(address) and text not in self._used and text not in self._reserved:
                self._next = offset + 1
                return text
        raise ResourceExhausted("addresses", f"all of subnet {self._within} are in use")

    def _leasable(self, address: IPv4Address | IPv6Address) -> bool:
        network = self._network
        if str(address) == self._gateway:
            return False
        if network.prefixlen >= network.max_prefixlen - 1:
            return True  # RFC 3021 and RFC 6164: of two addresses none is the network's
        if address == network.network_address:
            return False
        return network.version == 6 or address != network.broadcast_address


def first_host(subnet: str) -> str:
    """The address that a gateway has by custom."""
    return str(next(iter(ip_network(subnet).hosts())))


def unique_local_subnet(seed: str) -> str:
    """An IPv6 subnet for a network that asks for none in particular: of RFC 4193, section 3.2, the global id being
    a hash of ``seed`` (the network's id), so that no two are the same."""
    digest = sha256(seed.encode()).hexdigest()
    return str(ip_network(f"fd{digest[:2]}:{digest[2:6]}:{digest[6:10]}:0::/64"))


def overlaps(subnet: str, others: Iterable[str]) -> str:
    """The first of ``others`` that shares an address with ``subnet``, or nothing."""
    network = ip_network(subnet)
    for other in others:
        theirs = ip_network(other)
        if theirs.version == network.version and network.overlaps(theirs):
            return other
    return ""


SUBNET_PREFIX: Final = 22
"""Of the IPv4 subnets that pools are cut into."""


def subnet_prefix(pool: str, prefix: int = SUBNET_PREFIX) -> int:
    """The prefix length of the subnets that a pool is cut into; a smaller pool is taken whole."""
    network = ip_network(pool)
    return max(prefix if network.version == 4 else 64, network.prefixlen)


def free_subnet(pools: Iterable[str], taken: Iterable[str], prefix: int = SUBNET_PREFIX) -> str:
    """The first subnet of the pools that overlaps nothing taken. Raises ResourceExhausted.

    Pools smaller than ``prefix`` are taken whole.
    """
    known = list(taken)
    for pool in pools:
        network = ip_network(pool)
        for subnet in network.subnets(new_prefix=subnet_prefix(pool, prefix)):
            if not overlaps(str(subnet), known):
                return str(subnet)
    raise ResourceExhausted("subnets", "every configured address pool is in use")
