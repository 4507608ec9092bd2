"""127.0.0.11 inside a container: the address at which dockerd answers names, which configurations of nginx and others
name. Packets to its port 53 are sent to the server on the network's gateway, or to another port of 127.0.0.11.

Packets from 127.0.0.1 leave an interface, and their answers come in by one, with ``route_localnet`` alone. That
would let neighbours reach what listens on the container's loopback, hence the raw rule; it sees
answers before their address is translated back, and so lets them pass.
"""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from sharedrt.drivers.network.nft import Nftables, NftError
from sharedrt.model.faults import Internal

ADDRESS: Final = "127.0.0.11"
_TABLE: Final = "sharedrt_names"
_ROUTE_LOCALNET: Final = Path("/proc/sys/net/ipv4/conf/all/route_localnet")


def point_names(nft: Nftables, server: str, ports: tuple[int, int] = (53, 53)) -> None:
    """In the calling thread's network namespace: lead to ``server``, or nowhere when it is empty. Idempotent.

    Args:
        ports: the server's, of UDP and of TCP.

    Raises:
        Internal: the kernel refused.
    """
    away = f"table ip {_TABLE}\ndelete table ip {_TABLE}\n"
    commands = ""
    if server:
        target, (udp, tcp) = IPv4Address(server), ports
        commands = (
            f"table ip {_TABLE} {{\n"
            "chain raw { type filter hook prerouting priority raw; policy accept;\n"
            'iifname != "lo" ip daddr 127.0.0.0/8 drop\n}\n'
            "chain output { type nat hook output priority -100; policy accept;\n"
            f"ip daddr {ADDRESS} udp dport 53 dnat to {target}:{udp}\n"
            f"ip daddr {ADDRESS} tcp dport 53 dnat to {target}:{tcp}\n}}\n"
            "chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
            'oifname != "lo" ip saddr 127.0.0.0/8 masquerade\n}\n'
            "}\n"
        )
    try:
        if not commands:
            nft.run(away)
        elif not _create(nft, commands):
            nft.run(away + commands)
    except NftError as error:
        raise Internal(f"nftables table {_TABLE!r} of a container", str(error)) from error
    leads_away = server and not IPv4Address(server).is_loopback
    _ROUTE_LOCALNET.write_text("1" if leads_away else "0")


def _create(nft: Nftables, commands: str) -> bool:
    """Whether the table was not there yet, as in nearly all cases: where nothing is deleted, the kernel need not wait
    some 10 ms for its readers."""
    try:
        nft.run(f"create table ip {_TABLE}\n{commands}")
    except NftError:
        return False
    return True
