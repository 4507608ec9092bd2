"""What our nftables table says: fixed chains over sets and maps whose elements are bridges and ports.

A packet's way::

    raw        from a container to 127.0.0.0/8: dropped (see route_localnet below)
    prerouting, output
               to an address of this host and a published port: DNAT to the container
    forward    to a bridge of ours: only inside that bridge, replies, and what was sent to a published port;
               to a bridge without NAT: its containers' published ports (`opened`) and pings, from the outside and
               from bridges `near` it, its own namespace's; from a host's interface that a bridge trusts: the same
               without pings; out of an internal bridge: never
    input      to the gateway address of another bridge than its own: dropped
    postrouting  out to the world, and back into the bridge it came from: masqueraded

Published on 127.0.0.1: the output hook sends packets with that source to a bridge, which the kernel
allows with ``route_localnet`` alone; that lets containers reach the host's loopback, hence the raw rule. From
``::1`` there is no such way. Bridges are isolated from each other whatever their group; a port published
on an address of the host is reachable for everyone who reaches that address.

An element's comment names its owner (``bridge:NAME``, ``endpoint:ID``): what no row owns can be found.
Accepting here overrides no drop in another table; see :mod:`.foreign`.
"""

import hashlib
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Final, NamedTuple

from sharedrt.model.drivers import BridgeConfig, EndpointConfig
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import PortMapping

PROTOCOLS: Final = {"6": "tcp", "17": "udp", "132": "sctp"}


class Element(NamedTuple):
    """One element of a set, or of a map when ``value`` is not empty; keys and values by component."""

    set: str
    key: tuple[str, ...]
    value: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetType:
    key: tuple[str, ...]
    value: tuple[str, ...] = ()
    interval: bool = False


_PORT4: Final = ("ipv4_addr", "inet_service")
_PORT6: Final = ("ipv6_addr", "inet_service")

SETS: Final = {
    "bridges": SetType(("ifname",)),
    "internal": SetType(("ifname",)),
    "routed": SetType(("ifname",)),
    "direct4": SetType(("ifname",)),
    "direct6": SetType(("ifname",)),
    "near4": SetType(("ifname", "ifname")),
    "near6": SetType(("ifname", "ifname")),
    "trusted": SetType(("ifname", "ifname")),
    "same": SetType(("ifname", "ifname")),
    "gateways4": SetType(("ipv4_addr",)),
    "gateways6": SetType(("ipv6_addr",)),
    "own4": SetType(("ifname", "ipv4_addr")),
    "own6": SetType(("ifname", "ipv6_addr")),
    "inside4": SetType(("ifname", "ipv4_addr"), interval=True),
    "inside6": SetType(("ifname", "ipv6_addr"), interval=True),
    "masquerade4": SetType(("ipv4_addr",), interval=True),
    "masquerade6": SetType(("ipv6_addr",), interval=True),
    "open4": SetType(("ipv4_addr", "inet_proto", "inet_service")),
    "open6": SetType(("ipv6_addr", "inet_proto", "inet_service")),
    "one4": SetType(("inet_proto", *_PORT4), _PORT4),
    "any4": SetType(("inet_proto", "inet_service"), _PORT4),
    "one6": SetType(("inet_proto", *_PORT6), _PORT6),
    "any6": SetType(("inet_proto", "inet_service"), _PORT6),
}

_CHAINS: Final = """
chain publish {
    dnat ip to meta l4proto . ip daddr . th dport map @one4
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @any4
    dnat ip6 to meta l4proto . ip6 daddr . th dport map @one6
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @any6
}
chain raw {
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
}
chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 127.0.0.0/8 return
    iifname @internal return
    fib daddr type local jump publish
}
chain output {
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 return
    fib daddr type local jump publish
}
chain opened {
    ip daddr . meta l4proto . th dport @open4 accept
    ip6 daddr . meta l4proto . th dport @open6 accept
    drop
}
chain direct {
    meta l4proto icmp accept
    meta l4proto ipv6-icmp accept
    goto opened
}
chain to_bridge {
    iifname . oifname @same accept
    iifname @internal drop
    oifname @internal drop
    ct state established,related accept
    ct status dnat accept
    iifname != @bridges oifname @routed accept
    meta nfproto ipv4 iifname != @bridges oifname @direct4 goto direct
    meta nfproto ipv4 iifname . oifname @near4 goto direct
    meta nfproto ipv6 iifname != @bridges oifname @direct6 goto direct
    meta nfproto ipv6 iifname . oifname @near6 goto direct
    iifname . oifname @trusted goto opened
    drop
}
chain from_bridge {
    iifname @internal drop
}
chain forward {
    type filter hook forward priority filter; policy accept;
    oifname @bridges goto to_bridge
    iifname @bridges goto from_bridge
}
chain input {
    type filter hook input priority filter; policy accept;
    iifname @bridges ct state new ip daddr @gateways4 iifname . ip daddr != @own4 drop
    iifname @bridges ct state new ip6 daddr @gateways6 iifname . ip6 daddr != @own6 drop
}
chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    ct status dnat oifname . ip saddr @inside4 masquerade
    ct status dnat oifname . ip6 saddr @inside6 masquerade
    oifname != @bridges ip saddr @masquerade4 masquerade
    oifname != @bridges ip6 saddr @masquerade6 masquerade
}
"""


def _definitions() -> str:
    lines = []
    for name, kind in SETS.items():
        types = " . ".join(kind.key)
        if kind.value:
            types += " : " + " . ".join(kind.value)
        flags = " flags interval;" if kind.interval else ""
        lines.append(f"{'map' if kind.value else 'set'} {name} {{ type {types};{flags} }}")
    return "\n".join(lines) + _CHAINS


_BODY: Final = _definitions()
VERSION: Final = "v" + hashlib.sha256(_BODY.encode()).hexdigest()[:12]
"""An empty chain of this name tells which program's chains a table has (nft 1.0.6 lists no comments)."""

CHAIN_RULES: Final = {
    block.split()[0]: sum(
        1
        for line in block.splitlines()[1:]
        if line.strip(" }") and not line.lstrip().startswith("type")
    )
    for block in _CHAINS.split("chain ")[1:]
}
"""How many rules each chain has, for noticing that someone changed them."""


def table_text(table: str) -> str:
    """Commands that put an empty table of ours in place of whatever has its name, in one transaction."""
    return (
        f"table inet {table}\ndelete table inet {table}\n"
        f"table inet {table} {{\nchain {VERSION} {{ }}\n{_BODY}}}\n"
    )


def element_text(verb: str, table: str, element: Element, owner: str = "") -> str:
    """``add`` (with its owner) or ``delete`` as a command."""
    kind = SETS[element.set]
    text = _joined(kind.key, element.key)
    if verb == "add":
        text += f' comment "{owner}"'
        if element.value:
            text += " : " + _joined(kind.value, element.value)
    return f"{verb} element inet {table} {element.set} {{ {text} }}\n"


def _joined(types: tuple[str, ...], parts: tuple[str, ...]) -> str:
    return " . ".join(
        f'"{part}"' if kind == "ifname" else part for kind, part in zip(types, parts, strict=True)
    )


def bridge_elements(config: BridgeConfig) -> frozenset[Element]:
    """What the table holds for a bridge."""
    name = config.name
    found = {Element("bridges", (name,))}
    if config.internal:
        found.add(Element("internal", (name,)))
    if config.routed:
        found.add(Element("routed", (name,)))
    if config.inter_container:
        found.add(Element("same", (name, name)))
    for cidr in config.addresses:
        interface = ip_interface(cidr)
        version, subnet = interface.version, str(interface.network)
        found.add(Element(f"gateways{version}", (str(interface.ip),)))
        found.add(Element(f"own{version}", (name, str(interface.ip))))
        found.add(Element(f"inside{version}", (name, subnet)))
        if config.masquerade and not config.internal and version not in config.direct:
            found.add(Element(f"masquerade{version}", (subnet,)))
    for family in () if config.internal else config.direct:
        found.add(Element(f"direct{family}", (name,)))
        found.update(Element(f"near{family}", (other, name)) for other in config.near)
    if not config.internal:
        found.update(Element("trusted", (interface, name)) for interface in config.trusted)
    return frozenset(found)


def endpoint_elements(config: EndpointConfig) -> frozenset[Element]:
    """What the table holds for an endpoint: its published ports, in the families that it has addresses of.

    Where they are reached without NAT, by a family or by interfaces that its bridge trusts, also those.

    Raises:
        InvalidArgument: a protocol, port or host address that is none.
    """
    found = set()
    for mapping in config.ports:
        check_port(mapping)
        host = ip_address(mapping.host_ip) if mapping.host_ip else None
        for cidr in config.addresses:
            interface = ip_interface(cidr)
            if host is not None and host.version != interface.version:
                continue
            if mapping.direct or config.opened:
                place = (str(interface.ip), mapping.protocol, str(mapping.container_port))
                found.add(Element(f"open{interface.version}", place))
            if mapping.direct:
                continue
            target = (str(interface.ip), str(mapping.container_port))
            if host is None or host.is_unspecified:
                key = (mapping.protocol, str(mapping.host_port))
                found.add(Element(f"any{interface.version}", key, target))
            else:
                key3 = (mapping.protocol, str(host), str(mapping.host_port))
                found.add(Element(f"one{interface.version}", key3, target))
    return frozenset(found)


def check_port(mapping: PortMapping) -> None:
    """Raises InvalidArgument unless protocol, both ports and the host address are usable."""
    if mapping.protocol not in PROTOCOLS.values():
        raise InvalidArgument("protocol", mapping.protocol, "not one of tcp, udp, sctp")
    for field, port in (("host port", mapping.host_port), ("port", mapping.container_port)):
        if field == "host port" and mapping.direct:
            continue
        if not 0 < port < 65536:
            raise InvalidArgument(field, port, "not between 1 and 65535")
    if mapping.host_ip:
        try:
            ip_address(mapping.host_ip)
        except ValueError as error:
            raise InvalidArgument("host address", mapping.host_ip, "no IP address") from error
