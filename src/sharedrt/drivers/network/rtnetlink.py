"""Links, addresses and routes of one network namespace, over rtnetlink(7).

Every method is blocking and raises OSError with the kernel's errno.
"""

import errno
import secrets
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from sys import byteorder
from typing import Final

from sharedrt.drivers.network.netlink import (
    F_CREATE,
    F_DUMP,
    F_EXCL,
    F_REPLACE,
    NETLINK_ROUTE,
    NetlinkSocket,
    attribute,
    attribute_text,
    attribute_u8,
    attribute_u32,
    attributes,
    nested,
)

_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_RTM_SETLINK: Final = 19
_RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_GETADDR: Final = 22
_RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26

_IFINFO: Final = struct.Struct("=BxHiII")
"""family, device type, index, flags, mask of flags to change"""
_IFADDR: Final = struct.Struct("=BBBBI")
"""family, prefix length, flags, scope, index"""
_RTMSG: Final = struct.Struct("=BBBBBBBBI")
"""family, dst length, src length, tos, table, protocol, scope, type, flags"""

_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINK: Final = 5
_IFLA_MASTER: Final = 10
_IFLA_PROTINFO: Final = 12
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_GROUP: Final = 27
_IFLA_NET_NS_FD: Final = 28
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_VETH_INFO_PEER: Final = 1
_IFLA_VLAN_ID: Final = 1
_IFLA_MACVLAN_MODE: Final = 1
_IFLA_IPVLAN_MODE: Final = 1
_IFLA_IPVLAN_FLAGS: Final = 2

MACVLAN_MODES: Final = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES: Final = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS: Final = {"bridge": 0, "private": 1, "vepa": 2}
_IFLA_BRPORT_MODE: Final = 4
_IFLA_BRPORT_ISOLATED: Final = 33

_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_BROADCAST: Final = 4
_IFA_F_NODAD: Final = 0x02

_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_TABLE: Final = 15
_RT_TABLE_MAIN: Final = 254
_RT_SCOPE_LINK: Final = 253
_RTPROT_BOOT: Final = 3
_RTN_UNICAST: Final = 1
_RTNH_F_ONLINK: Final = 4

_IFF_UP: Final = 1

_RTM_NEWQDISC: Final = 36
_RTM_DELQDISC: Final = 37
_TCMSG: Final = struct.Struct("=BxxxiIII")
"""family, index, handle, parent, info"""
_TC_H_ROOT: Final = 0xFFFFFFFF
_QDISC_HANDLE: Final = 0x10000
_TCA_KIND: Final = 1
_TCA_OPTIONS: Final = 2
_TCA_TBF_PARMS: Final = 1
_TCA_TBF_RATE64: Final = 4
_TCA_TBF_BURST: Final = 6
_LINKLAYER_ETHERNET: Final = 1
_U32_MAX: Final = 0xFFFFFFFF
_BURSTS_A_SECOND: Final = 20
_QUEUES_A_SECOND: Final = 10
_BURST_MIN: Final = 1 << 16
"""A whole segment of TCP offload has to fit."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel has it; ``kind`` is ``bridge``, ``veth`` ... or empty."""

    index: int
    name: str
    up: bool
    kind: str = ""
    alias: str = ""
    mac: str = ""
    mtu: int = 0
    master: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; ``destination`` is a CIDR, empty for a default route."""

    destination: str
    link: int
    gateway: str = ""


class Rtnetlink:
    """The interfaces of the network namespace in which it was opened."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(NETLINK_ROUTE)

    def __enter__(self) -> "Rtnetlink":
        return self

    def __exit__(self, *_: object) -> None:
        self._netlink.close()

    def close(self) -> None:
        self._netlink.close()

    # ------------------------------------------------------------ links

    def links(self) -> Sequence[Link]:
        answers = self._netlink.request(_RTM_GETLINK, _ifinfo(), F_DUMP)
        return [_parse_link(answer) for answer in answers]

    def link(self, name: str) -> Link | None:
        try:
            answers = self._netlink.request(
                _RTM_GETLINK, _ifinfo() + attribute_text(_IFLA_IFNAME, name)
            )
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return _parse_link(answers[0])

    def add_bridge(self, name: str, mac: str) -> None:
        """A bridge with an address of its own: left to itself it takes its lowest port's, and changes."""
        body = (
            _ifinfo()
            + attribute_text(_IFLA_IFNAME, name)
            + attribute(_IFLA_ADDRESS, _mac(mac))
            + nested(_IFLA_LINKINFO, attribute_text(_IFLA_INFO_KIND, "bridge"))
        )
        self._netlink.request(_RTM_NEWLINK, body, F_CREATE | F_EXCL)

    def add_veth(
        self, name: str, *, peer: str, peer_mac: str, peer_netns_fd: int, mtu: int
    ) -> None:
        """A pair whose peer is born, down, in another network namespace under its final name."""
        peer_body = (
            _ifinfo()
            + attribute_text(_IFLA_IFNAME, peer)
            + attribute(_IFLA_ADDRESS, _mac(peer_mac))
            + attribute_u32(_IFLA_MTU, mtu)
            + attribute_u32(_IFLA_NET_NS_FD, peer_netns_fd)
        )
        body = (
            _ifinfo()
            + attribute_text(_IFLA_IFNAME, name)
            + attribute_u32(_IFLA_MTU, mtu)
            + nested(
                _IFLA_LINKINFO,
                attribute_text(_IFLA_INFO_KIND, "veth"),
                nested(_IFLA_INFO_DATA, nested(_VETH_INFO_PEER, peer_body)),
            )
        )
        self._netlink.request(_RTM_NEWLINK, body, F_CREATE | F_EXCL)

    def add_veth_pair(self, name: str, peer: str) -> None:
        """Both ends here, down: a link that has a carrier of its own."""
        body = (
            _ifinfo()
            + attribute_text(_IFLA_IFNAME, name)
            + nested(
                _IFLA_LINKINFO,
                attribute_text(_IFLA_INFO_KIND, "veth"),
                nested(
                    _IFLA_INFO_DATA,
                    nested(_VETH_INFO_PEER, _ifinfo() + attribute_text(_IFLA_IFNAME, peer)),
                ),
            )
        )
        self._netlink.request(_RTM_NEWLINK, body, F_CREATE | F_EXCL)

    def knows(self, kind: str) -> bool:
        """Whether the kernel has links of a kind that needs a parent (its module is loaded, if there is one)."""
        body = _ifinfo() + nested(_IFLA_LINKINFO, attribute_text(_IFLA_INFO_KIND, kind))
        try:
            self._netlink.request(_RTM_NEWLINK, body, F_CREATE | F_EXCL)
        except OSError as error:
            return error.errno != errno.EOPNOTSUPP  # it misses the parent
        raise AssertionError(f"a {kind} link without a parent was made")

    def add_vlan(self, name: str, *, parent: int, vlan: int) -> None:
        """A subinterface for the frames of one VLAN (IEEE 802.1Q) of the link ``parent``, down."""
        data = attribute(_IFLA_VLAN_ID, struct.pack("=H", vlan))
        body = _ifinfo() + attribute_text(_IFLA_IFNAME, name) + attribute_u32(_IFLA_LINK, parent)
        self._add_stacked(body, "vlan", data)

    def add_macvlan(
        self, name: str, *, parent: int, netns_fd: int, mode: str, mac: str, mtu: int
    ) -> None:
        """A link with an address of its own on the wire of ``parent``, born, down, in another network namespace."""
        body = _stacked(name, parent, netns_fd, mtu) + attribute(_IFLA_ADDRESS, _mac(mac))
        data = attribute_u32(_IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])
        self._add_stacked(body, "macvlan", data)

    def add_ipvlan(
        self, name: str, *, parent: int, netns_fd: int, mode: str, flag: str, mtu: int
    ) -> None:
        """The same with the parent's address, told apart by IP addresses."""
        data = attribute(_IFLA_IPVLAN_MODE, struct.pack("=H", IPVLAN_MODES[mode]))
        data += attribute(_IFLA_IPVLAN_FLAGS, struct.pack("=H", IPVLAN_FLAGS[flag]))
        self._add_stacked(_stacked(name, parent, netns_fd, mtu), "ipvlan", data)

    def _add_stacked(self, body: bytes, kind: str, data: bytes) -> None:
        info = nested(
            _IFLA_LINKINFO, attribute_text(_IFLA_INFO_KIND, kind), nested(_IFLA_INFO_DATA, data)
        )
        self._netlink.request(_RTM_NEWLINK, body + info, F_CREATE | F_EXCL)

    def set_link(
        self,
        index: int,
        *,
        up: bool = False,
        master: int | None = None,
        name: str | None = None,
        alias: str | None = None,
        mtu: int | None = None,
    ) -> None:
        """Change what is given, all in one message; ``up`` False leaves the state as it is."""
        flags = _IFF_UP if up else 0
        body = _ifinfo(index=index, flags=flags, change=flags)
        if name is not None:
            body += attribute_text(_IFLA_IFNAME, name)
        if alias is not None:
            body += attribute(_IFLA_IFALIAS, alias.encode())
        if mtu is not None:
            body += attribute_u32(_IFLA_MTU, mtu)
        if master is not None:
            body += attribute_u32(_IFLA_MASTER, master)
        self._netlink.request(_RTM_SETLINK, body)

    def set_bridge_port(self, index: int, *, hairpin: bool, isolated: bool) -> None:
        """``hairpin``: frames may leave by the port they came in; ``isolated``: never to other isolated ports."""
        body = _ifinfo(family=socket.AF_BRIDGE, index=index) + nested(
            _IFLA_PROTINFO,
            attribute_u8(_IFLA_BRPORT_MODE, int(hairpin)),
            attribute_u8(_IFLA_BRPORT_ISOLATED, int(isolated)),
        )
        self._netlink.request(_RTM_SETLINK, body)

    def delete_link(self, name: str) -> bool:
        """Whether it was there. Deleting one end of a veth pair deletes both."""
        try:
            self._netlink.request(_RTM_DELLINK, _ifinfo() + attribute_text(_IFLA_IFNAME, name))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True

    def delete_links(self, names: Sequence[str]) -> None:
        """All of them, in one go where there are several: the kernel waits some 30 ms for its readers
        after each deletion, but only once for a group. Idempotent."""
        found = [link for name in names if (link := self.link(name)) is not None]
        if len(found) < 2:
            for link in found:
                self.delete_link(link.name)
            return
        # Random, out of a range that nobody numbers groups in by hand.
        group = (1 << 30) + secrets.randbelow(1 << 30)
        for link in found:
            body = _ifinfo(index=link.index) + attribute_u32(_IFLA_GROUP, group)
            self._netlink.request(_RTM_SETLINK, body)
        self._netlink.request(_RTM_DELLINK, _ifinfo() + attribute_u32(_IFLA_GROUP, group))

    # ------------------------------------------------------------ addresses

    def addresses(self, index: int) -> Sequence[str]:
        """CIDRs of an interface, without IPv6 link-local ones."""
        found = []
        for answer in self._netlink.request(_RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, 0), F_DUMP):
            _family, prefix, _flags, _scope, link = _IFADDR.unpack_from(answer)
            if link != index:
                continue
            values = dict(attributes(answer[_IFADDR.size :]))
            address = ip_address(values.get(_IFA_LOCAL) or values[_IFA_ADDRESS])
            if not (address.version == 6 and address.is_link_local):
                found.append(f"{address}/{prefix}")
        return found

    def add_address(self, index: int, cidr: str) -> None:
        """Idempotent. IPv6 without duplicate address detection, since addresses are leased uniquely."""
        self._netlink.request(_RTM_NEWADDR, _ifaddr(index, cidr), F_CREATE | F_REPLACE)

    def delete_address(self, index: int, cidr: str) -> None:
        try:
            self._netlink.request(_RTM_DELADDR, _ifaddr(index, cidr))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise

    # ------------------------------------------------------------ bandwidth

    def limit_rate(self, index: int, bps: int) -> None:
        """Let an interface send at most ``bps`` bits a second (tc-tbf(8)); 0: no bound. Idempotent."""
        root = _TCMSG.pack(0, index, _QDISC_HANDLE if bps else 0, _TC_H_ROOT, 0)
        if not bps:
            try:
                self._netlink.request(_RTM_DELQDISC, root)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINVAL):  # it has its default one
                    raise
            return
        rate = max(bps // 8, 1)
        burst = min(max(rate // _BURSTS_A_SECOND, _BURST_MIN), _U32_MAX)
        queue = min(burst + rate // _QUEUES_A_SECOND, _U32_MAX)
        # u8 cell log, u8 link layer, u16 overhead, s16 cell align, u16 minimal packet, u32 bytes a second
        rate_spec = struct.pack("=BBHhHI", 0, _LINKLAYER_ETHERNET, 0, 0, 0, min(rate, _U32_MAX))
        parameters = rate_spec + bytes(len(rate_spec)) + struct.pack("=III", queue, 0, 0)
        options = attribute(_TCA_TBF_PARMS, parameters) + attribute_u32(_TCA_TBF_BURST, burst)
        if rate >= _U32_MAX:
            options += attribute(_TCA_TBF_RATE64, struct.pack("=Q", rate))
        body = root + attribute_text(_TCA_KIND, "tbf") + nested(_TCA_OPTIONS, options)
        self._netlink.request(_RTM_NEWQDISC, body, F_CREATE | F_REPLACE)

    # ------------------------------------------------------------ routes

    def set_default_route(self, index: int, gateway: str) -> None:
        """The default route of the gateway's family, in place of one there may be.

        The gateway need not be in a subnet of the interface (on-link)."""
        address = ip_address(gateway)
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = (
            _RTMSG.pack(
                family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, _RTNH_F_ONLINK
            )
            + attribute_u32(_RTA_OIF, index)
            + attribute(_RTA_GATEWAY, address.packed)
        )
        self._netlink.request(_RTM_NEWROUTE, body, F_CREATE | F_REPLACE)

    def set_device_route(self, index: int, version: int) -> None:
        """The default route of a family over an interface without a gateway (ipvlan's layer 3)."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        scope = _RT_SCOPE_LINK if version == 4 else 0
        body = _RTMSG.pack(
            family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, scope, _RTN_UNICAST, 0
        ) + attribute_u32(_RTA_OIF, index)
        self._netlink.request(_RTM_NEWROUTE, body, F_CREATE | F_REPLACE)

    def routes(self) -> Sequence[Route]:
        """Unicast routes of the main table, both families, without IPv6 link-local ones."""
        found = []
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _RTMSG.pack(family, 0, 0, 0, _RT_TABLE_MAIN, 0, 0, 0, 0)
            for answer in self._netlink.request(_RTM_GETROUTE, body, F_DUMP):
                header = _RTMSG.unpack_from(answer)
                values = dict(attributes(answer[_RTMSG.size :]))
                table = int.from_bytes(values.get(_RTA_TABLE, bytes((header[4],))), byteorder)
                if table != _RT_TABLE_MAIN or header[7] != _RTN_UNICAST:
                    continue
                destination = ""
                if _RTA_DST in values:
                    network = ip_interface((values[_RTA_DST], header[1])).network
                    if network.is_link_local:
                        continue
                    destination = str(network)
                link = struct.unpack("=I", values[_RTA_OIF])[0] if _RTA_OIF in values else 0
                gateway = str(ip_address(values[_RTA_GATEWAY])) if _RTA_GATEWAY in values else ""
                found.append(Route(destination, link, gateway))
        return found


def _ifinfo(*, family: int = 0, index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return _IFINFO.pack(family, 0, index, flags, change)


def _stacked(name: str, parent: int, netns_fd: int, mtu: int) -> bytes:
    return (
        _ifinfo()
        + attribute_text(_IFLA_IFNAME, name)
        + attribute_u32(_IFLA_MTU, mtu)
        + attribute_u32(_IFLA_LINK, parent)
        + attribute_u32(_IFLA_NET_NS_FD, netns_fd)
    )


def _ifaddr(index: int, cidr: str) -> bytes:
    interface = ip_interface(cidr)
    prefix = interface.network.prefixlen
    packed = interface.ip.packed
    if isinstance(interface, IPv6Interface):
        header = _IFADDR.pack(socket.AF_INET6, prefix, _IFA_F_NODAD, 0, index)
        return header + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    assert isinstance(interface, IPv4Interface)
    body = _IFADDR.pack(socket.AF_INET, prefix, 0, 0, index)
    body += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if prefix < 31:
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return body


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _parse_link(body: bytes) -> Link:
    _family, _type, index, flags, _change = _IFINFO.unpack_from(body)
    values = dict(attributes(body[_IFINFO.size :]))
    info = dict(attributes(values.get(_IFLA_LINKINFO, b"")))
    return Link(
        index=index,
        name=_text(values.get(_IFLA_IFNAME, b"")),
        up=bool(flags & _IFF_UP),
        kind=_text(info.get(_IFLA_INFO_KIND, b"")),
        alias=_text(values.get(_IFLA_IFALIAS, b"")),
        mac=values.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=int.from_bytes(values.get(_IFLA_MTU, b""), byteorder),
        master=int.from_bytes(values.get(_IFLA_MASTER, b""), byteorder),
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
