"""Hardware addresses of virtual interfaces."""

import secrets
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_interface


def mac_address(addresses: Sequence[str]) -> str:
    """A locally administered address for an interface with these addresses (CIDR).

    Of the IPv4 address where there is one, as Docker made them, so that a neighbour's ARP cache stays right when
    an address is leased anew; random otherwise.
    """
    for cidr in addresses:
        address = ip_interface(cidr).ip
        if isinstance(address, IPv4Address):
            return (b"\x02\x42" + address.packed).hex(":")
    return (b"\x02" + secrets.token_bytes(5)).hex(":")
