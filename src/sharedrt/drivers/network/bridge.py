"""Bridges, veth pairs and published ports (:class:`sharedrt.model.drivers.BridgeNetwork`).

What belongs to this daemon says so: interfaces by their alias, ``TABLE:bridge`` and ``TABLE:endpoint:ID``, rules by
their table. The host's end of a veth pair is named after the endpoint's id.
"""

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Final

import structlog

from sharedrt.drivers.network.conntrack import FlowPort, UdpFlows
from sharedrt.drivers.network.foreign import ForeignFirewall
from sharedrt.drivers.network.host_ports import HostPorts
from sharedrt.drivers.network.name_redirect import point_names
from sharedrt.drivers.network.nft import Nftables
from sharedrt.drivers.network.rtnetlink import Link, Rtnetlink
from sharedrt.drivers.network.ruleset import Element, bridge_elements, endpoint_elements
from sharedrt.drivers.network.stacked import DRIVERS as STACKED
from sharedrt.drivers.network.stacked import StackedLinks
from sharedrt.drivers.network.table import RuleTable
from sharedrt.drivers.network.watch import RulesetWatch
from sharedrt.drivers.network.worker import NetworkWorker
from sharedrt.model.drivers import BridgeConfig, EndpointConfig, ParentConfig
from sharedrt.model.faults import FailedPrecondition, Internal, InUse, InvalidArgument
from sharedrt.model.mac import mac_address

log = structlog.get_logger(__name__)

_INTERFACE_NAME_MAX: Final = 15
_PREFIX_MAX: Final = 4
_NET: Final = Path("/proc/sys/net")
_LINK_LOCAL_PREFIX: Final = {4: 16, 6: 64}
"""RFC 3927, section 2.1, and RFC 4291, section 2.5.6."""


class HostBridges:
    """Implements BridgeNetwork on one host, or on a network namespace that stands for one.

    Args:
        table: name of the nftables table, unique to this daemon on the host.
        prefix: of the host's ends of veth pairs, at most 4 characters.
        netns: where the bridges are; ``None``: the daemon's own network namespace.

    Raises:
        FailedPrecondition: libnftables is missing.
    """

    def __init__(self, *, table: str, prefix: str, netns: Path | None = None) -> None:
        if not 0 < len(prefix) <= _PREFIX_MAX:
            raise InvalidArgument("interface prefix", prefix, f"not 1 to {_PREFIX_MAX} characters")
        self._alias = f"{table}:"
        self._prefix = prefix
        self._nft = nft = Nftables()
        self._table = RuleTable(nft, table)
        self._foreign = ForeignFirewall(nft, table)
        self._ports = HostPorts()
        self._worker = NetworkWorker(netns)
        self._stacked = StackedLinks(self._worker, self._alias)
        self._flows = UdpFlows(netns)
        self._doomed: deque[str] = deque()
        """Veths to be deleted; filled on the loop, emptied on the worker's thread."""
        self._watch: RulesetWatch | None = None
        self._meddled = asyncio.Event()

    # ------------------------------------------------------------ the contract

    async def ensure_bridge(self, config: BridgeConfig) -> None:
        await self._worker.run(self._ensure_bridge, config)

    async def remove_bridge(self, name: str) -> None:
        await self._worker.run(self._remove_bridge, name)

    async def ensure_parent(self, config: ParentConfig) -> None:
        await self._worker.run(self._stacked.ensure_parent, config)

    async def remove_parent(self, name: str) -> None:
        await self._worker.run(self._stacked.remove_parent, name)

    async def parents_on_host(self) -> Sequence[str]:
        return await self._worker.run(self._stacked.parents_on_host)

    async def connect(self, config: EndpointConfig) -> None:
        self._flows.forget(await self._worker.run(self._connect, config))

    async def disconnect(self, config: EndpointConfig) -> None:
        if config.driver in STACKED:
            await self._worker.run(self._stacked.unplug, config)
            return
        self._flows.forget(await self._worker.run(self._unpublish, config.id))
        # Those who wait at the same time share one deletion, which takes the kernel some 30 ms.
        self._doomed.append(self._veth(config.id))
        await self._worker.run(self._delete_doomed)

    async def point_names(
        self, netns: Path, server: str, ports: tuple[int, int] = (53, 53)
    ) -> None:
        await self._worker.run(self._point_names, netns, server, ports)

    async def endpoints_on_host(self) -> Sequence[str]:
        return await self._worker.run(self._endpoints_on_host)

    async def bridges_on_host(self) -> Sequence[str]:
        return await self._worker.run(self._bridges_on_host)

    async def host_port_free(self, protocol: str, address: str, port: int) -> bool:
        return await self._worker.run(self._ports.free, protocol, address, port)

    async def host_subnets(self) -> Sequence[str]:
        return await self._worker.run(self._host_subnets)

    async def mend(self) -> bool:
        return await self._worker.run(self._mend)

    async def rules_changed(self) -> None:
        if self._watch is None:
            self._watch = await self._worker.run(self._watch_rules, self._meddled.set)
            self._watch.start()
            self._meddled.set()  # what has happened before nobody has heard of
        await self._meddled.wait()
        self._meddled.clear()

    async def problems(self) -> Sequence[str]:
        return await self._worker.run(self._foreign.problems)

    async def flush(self) -> None:
        await self._worker.run(self._flush)

    async def aclose(self) -> None:
        """Let go of the held ports and end the thread; what is on the host stays."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        await self._flows.aclose()
        await self._worker.run(self._ports.close)
        await self._worker.aclose()

    # ------------------------------------------------------------ bridges, on the worker's thread

    def _ensure_bridge(self, config: BridgeConfig) -> None:
        if not 0 < len(config.name) <= _INTERFACE_NAME_MAX or set(config.name) & set('/ "\\:'):
            raise InvalidArgument("bridge name", config.name, "not usable as an interface's name")
        versions = {ip_interface(cidr).version for cidr in config.addresses}
        with Rtnetlink() as netlink:
            link = netlink.link(config.name)
            if link is None:
                netlink.add_bridge(config.name, mac_address(config.addresses))
                link = netlink.link(config.name)
                assert link is not None, "it has just been made"
                # The alias first: a crash after it leaves a bridge that is known to be ours.
                netlink.set_link(link.index, alias=self._alias + "bridge")
                ours = True
            else:
                ours = self._check_bridge(link)
            _set_bridge_sysctls(config.name, ipv6=6 in versions)
            netlink.set_link(link.index, up=True, mtu=config.mtu)
            wanted = {str(ip_interface(cidr)) for cidr in config.addresses}
            present = set(netlink.addresses(link.index))
            for cidr in sorted(wanted - present):
                netlink.add_address(link.index, cidr)
            if ours:
                for cidr in sorted(present - wanted):
                    netlink.delete_address(link.index, cidr)
            _forward(versions, netlink)
        self._table.replace(f"bridge:{config.name}", bridge_elements(config))
        self._foreign.admit(config.name)

    def _check_bridge(self, link: Link) -> bool:
        """Whether a bridge that is there is ours; one that the administrator made is used and never removed."""
        if link.kind != "bridge":
            raise FailedPrecondition(
                "bridge", link.name, "an interface of that name exists and is no bridge"
            )
        if link.alias == self._alias + "bridge":
            return True
        if link.alias.endswith(":bridge"):
            raise FailedPrecondition(
                "bridge", link.name, f"belongs to {link.alias.removesuffix(':bridge')!r}"
            )
        return False

    def _remove_bridge(self, name: str) -> None:
        with Rtnetlink() as netlink:
            link = netlink.link(name)
            if link is not None and link.alias == self._alias + "bridge":
                netlink.delete_link(name)
        self._foreign.withdraw(name)
        self._table.replace(f"bridge:{name}", frozenset())

    # ------------------------------------------------------------ endpoints, on the worker's thread

    def _connect(self, config: EndpointConfig) -> set[FlowPort]:
        """The UDP ports that have changed hands by it."""
        if config.driver in STACKED:
            self._plug(config)
            return set()
        owner = f"endpoint:{config.id}"
        elements = endpoint_elements(config)
        with ExitStack() as undo:
            undo.callback(self._undo_connect, config.id)
            try:
                self._ports.hold(config.id, config.ports, config.addresses)
            except InUse as error:
                if not elements or self._table.elements(owner) != elements:
                    raise
                # Published since before a restart of ours; what took the port meanwhile gets no packets.
                log.warning("published port is bound by another program", reason=str(error))
            self._plug(config)
            if any(element.set in ("any4", "one4") for element in elements):
                _write(_NET / "ipv4/conf" / config.bridge / "route_localnet", "1")
            before = self._table.elements(owner)
            self._table.replace(owner, elements)
            undo.pop_all()
        return _udp_ports(before ^ elements)

    def _plug(self, config: EndpointConfig) -> None:
        with ExitStack() as stack:
            netlink = stack.enter_context(Rtnetlink())
            try:
                netns = os.open(config.netns, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise FailedPrecondition(
                    "network namespace", str(config.netns), "is not there"
                ) from error
            stack.callback(os.close, netns)
            if config.driver in STACKED:
                created = self._stacked.plug(netlink, config, netns)
            else:
                created = self._plug_veth(netlink, config, netns)
            with self._worker.inside(netns):
                _set_up_interface(config, created=created)

    def _plug_veth(self, netlink: Rtnetlink, config: EndpointConfig, netns: int) -> bool:
        """Whether the pair was not there yet."""
        name = self._veth(config.id)
        bridge = netlink.link(config.bridge)
        if bridge is None:
            raise FailedPrecondition("bridge", config.bridge, "is not there")
        link = netlink.link(name)
        created = link is None
        if link is None:
            netlink.add_veth(
                name,
                peer=config.interface,
                peer_mac=config.mac,
                peer_netns_fd=netns,
                mtu=config.mtu,
            )
            link = netlink.link(name)
            assert link is not None, "it has just been made"
            # The host's end has no address of its own.
            _write(_NET / "ipv6/conf" / name / "disable_ipv6", "1")
        alias = f"{self._alias}endpoint:{config.id}"
        netlink.set_link(link.index, master=bridge.index, alias=alias, up=True)
        isolated = ("same", (config.bridge, config.bridge)) not in {
            (element.set, element.key)
            for element in self._table.elements(f"bridge:{config.bridge}")
        }
        netlink.set_bridge_port(link.index, hairpin=bool(config.ports), isolated=isolated)
        # What the host's end sends is what the container receives.
        if config.ingress_bps or not created:
            netlink.limit_rate(link.index, config.ingress_bps)
        return created

    def _point_names(self, netns: Path, server: str, ports: tuple[int, int]) -> None:
        try:
            opened = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            with self._worker.inside(opened):
                point_names(self._nft, server, ports)
        finally:
            os.close(opened)

    def _undo_connect(self, id: str) -> None:
        try:
            self._disconnect(id)
        except (OSError, Internal) as error:
            # The first error is the one to report; what is left has an owner's name, for recovery.
            log.error("cannot undo a failed connect", endpoint=id, exc_info=error)

    def _disconnect(self, id: str) -> None:
        self._unpublish(id)
        with Rtnetlink() as netlink:
            netlink.delete_link(self._veth(id))

    def _unpublish(self, id: str) -> set[FlowPort]:
        elements = self._table.elements(f"endpoint:{id}")
        self._table.replace(f"endpoint:{id}", frozenset())
        self._ports.release(id)
        return _udp_ports(elements)

    def _delete_doomed(self) -> None:
        names = []
        while self._doomed:
            names.append(self._doomed.popleft())
        try:
            with Rtnetlink() as netlink:
                netlink.delete_links(names)
        except OSError:
            self._doomed.extend(names)  # of others too: their own turn comes
            raise

    def _veth(self, id: str) -> str:
        digest = hashlib.sha256(id.encode()).hexdigest()
        return self._prefix + digest[: _INTERFACE_NAME_MAX - _PREFIX_MAX]

    # ------------------------------------------------------------ the whole, on the worker's thread

    def _endpoints_on_host(self) -> Sequence[str]:
        mark = self._alias + "endpoint:"
        with Rtnetlink() as netlink:
            plugged = {
                link.alias.removeprefix(mark)
                for link in netlink.links()
                if link.alias.startswith(mark)
            }
        return sorted(plugged | set(self._table.owners("endpoint")))

    def _bridges_on_host(self) -> Sequence[str]:
        mark = self._alias + "bridge"
        with Rtnetlink() as netlink:
            made = {link.name for link in netlink.links() if link.alias == mark}
        return sorted(made | set(self._table.owners("bridge")))

    def _host_subnets(self) -> Sequence[str]:
        with Rtnetlink() as netlink:
            ours = {link.index for link in netlink.links() if link.alias.startswith(self._alias)}
            found = {route.destination for route in netlink.routes() if route.link not in ours}
        return sorted(found - {""})

    def _mend(self) -> bool:
        whole = self._table.verify()
        if not whole:
            self._table.restore()
        self._ports.relay.mend()
        admitted = self._foreign.readmit(self._table.owners("bridge"))
        return bool(admitted) or not whole

    def _watch_rules(self, changed: Callable[[], None]) -> RulesetWatch:
        return RulesetWatch(self._table.name, changed)

    def _flush(self) -> None:
        with Rtnetlink() as netlink:
            for link in netlink.links():
                if link.alias.startswith(self._alias):
                    if link.kind == "bridge":
                        self._foreign.withdraw(link.name)
                    netlink.delete_link(link.name)
        self._ports.close()
        self._table.remove()


def _udp_ports(elements: Collection[Element]) -> set[FlowPort]:
    udp = (element for element in elements if element.value and element.key[0] == "udp")
    return {FlowPort(int(element.set[-1]), int(element.key[-1])) for element in udp}


def _set_up_interface(config: EndpointConfig, *, created: bool) -> None:
    """Inside the container's network namespace: addresses, up, default routes. Idempotent."""
    extra = [
        f"{address}/{_LINK_LOCAL_PREFIX[ip_address(address).version]}"
        for address in config.link_local
    ]
    versions = {ip_interface(cidr).version for cidr in config.addresses}
    settings = _NET / "ipv6/conf" / config.interface
    _write(settings / "accept_ra", "0")
    _write(settings / "accept_dad", "0")  # addresses are leased uniquely, and hairpin ports echo it
    ipv6 = any(":" in cidr for cidr in (*config.addresses, *extra))
    _write(settings / "disable_ipv6", "0" if ipv6 else "1")
    # Coming up, it tells its neighbours. Besides, cAdvisor takes a pod that has neither sent nor received anything for
    # one that has ended, and shows no figures of its network.
    _write(_NET / "ipv4/conf" / config.interface / "arp_notify", "1")
    with Rtnetlink() as netlink:
        link = netlink.link(config.interface)
        if link is None:
            raise FailedPrecondition("interface", config.interface, "is not in the container")
        for cidr in (*config.addresses, *extra):
            netlink.add_address(link.index, cidr)
        netlink.set_link(link.index, up=True)
        if config.egress_bps or not created:
            netlink.limit_rate(link.index, config.egress_bps)
        for gateway in config.gateways:
            netlink.set_default_route(link.index, gateway)
        for version in versions if config.device_route else ():
            netlink.set_device_route(link.index, version)
    for setting in config.sysctls if created else ():
        _write_interface_sysctl(config.interface, setting)


def _write_interface_sysctl(interface: str, setting: str) -> None:
    name, _, value = setting.partition("=")
    # By parts, since an interface's name may have dots.
    parts = [interface if part == "IFNAME" else part for part in name.split(".")]
    try:
        Path("/proc/sys", *parts).write_text(value)
    except OSError as error:
        raise InvalidArgument("endpoint sysctl", setting, error.strerror or str(error)) from error


def _set_bridge_sysctls(name: str, *, ipv6: bool) -> None:
    settings = _NET / "ipv6/conf" / name
    _write(settings / "accept_ra", "0")
    # Without a link-local address that is not tentative the host cannot ask for its neighbours: for the
    # first two seconds no packet from outside would reach a container.
    _write(settings / "accept_dad", "0")
    _write(settings / "disable_ipv6", "0" if ipv6 else "1")


def _forward(versions: Collection[int], netlink: Rtnetlink) -> None:
    """Let the host forward packets, for the families that a bridge has addresses of."""
    if 4 in versions:
        _write(_NET / "ipv4/ip_forward", "1")
    path = _NET / "ipv6/conf/all/forwarding"
    if 6 in versions and path.read_text().strip() == "0":
        # A forwarding host ignores router advertisements, and would lose its own default route, unless told so.
        for link in netlink.links():
            accept = _NET / "ipv6/conf" / link.name / "accept_ra"
            if accept.exists() and accept.read_text().strip() == "1":
                _write(accept, "2")
        _write(path, "1")


def _write(path: Path, value: str) -> None:
    """Set a sysctl of the thread's network namespace, unless it is so already (it may be read-only then)."""
    try:
        if path.read_text().strip() == value:
            return
        path.write_text(value)
    except FileNotFoundError:
        if "ipv6" not in path.parts:  # a kernel without IPv6 has none of these
            raise
