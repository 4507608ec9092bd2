"""Endpoints: a container's or sandbox's place on a network, from the lease of its addresses to its veth.

The row is written first and deleted last, so that after a crash at any point the row leads to whatever
there is in the world. Calls about one owner queue.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from itertools import zip_longest
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.completion import complete
from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import BridgeNetwork, EndpointConfig
from sharedrt.model.faults import (
    AlreadyExists,
    FailedPrecondition,
    Fault,
    InUse,
    InvalidArgument,
    NotFound,
)
from sharedrt.model.ids import EndpointId, NetworkId, new_id
from sharedrt.model.mac import mac_address
from sharedrt.model.records import EndpointRecord, NetworkRecord, PortMapping
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.logged import logged
from sharedrt.services.networks.addresses import AddressPool
from sharedrt.services.networks.bridges import (
    POD_NETWORK,
    direct_families,
    families,
    has_way_out,
    host_binding,
    is_joined,
    mtu_of,
    opens,
    publishes,
)
from sharedrt.services.networks.ports import HostPortChooser, is_open, without_nat
from sharedrt.services.networks.settings import NetworkSettings
from sharedrt.services.networks.stacked import STACKED, flag_of, is_routed, mode_of

log = structlog.get_logger(__name__)

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PORT_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a connection asks for."""

    owner: str
    netns: Path
    ports: tuple[PortMapping, ...] = ()
    aliases: tuple[str, ...] = ()
    mac: str = ""
    address: str = ""
    address6: str = ""
    links: tuple[str, ...] = ()
    priority: int = 0
    ingress_bps: int = 0
    egress_bps: int = 0
    interface: str = ""
    sysctls: tuple[str, ...] = ()
    link_local: tuple[str, ...] = ()
    ipv6: bool = True


class Endpoints:
    """Endpoints of one namespace, in memory and on the host.

    One of an owner's endpoints is its gateway, ``default_route``: that network's gateway is its way to the world, and
    the published ports lead to its addresses there. It is the one of the highest priority whose network has
    a way out, the oldest of several. When it comes or goes, route and ports move.
    """

    def __init__(
        self,
        events: NamespacedEvents,
        bridge: BridgeNetwork,
        settings: NetworkSettings,
        find_network: Callable[[NetworkId], NetworkRecord | None],
        name: str,
    ) -> None:
        self._events = events
        self._find_network = find_network
        self.generation = 0
        """Grows with every change, for those who keep what they have worked out from the records."""
        self._bridge = bridge
        self._settings = settings
        self._records: dict[EndpointId, EndpointRecord] = {}
        self._pools: dict[NetworkId, Sequence[AddressPool]] = {}
        self._chooser = HostPortChooser(bridge)
        self._locks = KeyedLocks()
        self._joining: dict[NetworkId, list[str]] = {}
        """Owners whose connection to a network is under way."""
        self._leaving: set[NetworkId] = set()
        """Networks whose removal is under way."""
        self._tasks = TaskOwner(f"endpoints of {name}")

    # ------------------------------------------------------------ look

    def of_owner(self, owner: str) -> Sequence[EndpointRecord]:
        return [record for record in self._records.values() if record.owner == owner]

    def on_network(self, network: NetworkId) -> Sequence[EndpointRecord]:
        return [record for record in self._records.values() if record.network_id == network]

    def all(self) -> Iterable[EndpointRecord]:
        return self._records.values()

    def get(self, id: str) -> EndpointRecord:
        if (record := self._records.get(EndpointId(id))) is None:
            raise NotFound("endpoint", id)
        return record

    def place_of(self, id: str) -> tuple[str, Path]:
        """Owner and network namespace; both empty when there is no such endpoint."""
        record = self._records.get(EndpointId(id))
        return (record.owner, Path(record.netns)) if record else ("", Path())

    # ------------------------------------------------------------ a network that comes or goes

    @contextmanager
    def joining(self, network: NetworkRecord, owner: str) -> Iterator[None]:
        """In the block the network cannot be removed. Raises NotFound: its removal is under way, or over."""
        if network.id in self._leaving or self._find_network(network.id) is None:
            raise NotFound("network", network.name)
        owners = self._joining.setdefault(network.id, [])
        owners.append(owner)
        try:
            yield
        finally:
            owners.remove(owner)
            if not owners:
                del self._joining[network.id]

    @contextmanager
    def leaving(self, network: NetworkRecord) -> Iterator[None]:
        """In the block nobody can join the network, which goes.

        Raises:
            InUse: with those who are on it, or about to be. NotFound: somebody else is removing it.
        """
        users = [endpoint.owner for endpoint in self.on_network(network.id)]
        users += self._joining.get(network.id, ())
        if users:
            raise InUse("network", network.name, tuple(dict.fromkeys(users)))
        if network.id in self._leaving:
            raise NotFound("network", network.name)
        self._leaving.add(network.id)
        try:
            yield
        finally:
            self._leaving.discard(network.id)

    # ------------------------------------------------------------ connect

    async def connect(self, network: NetworkRecord, asked: Attachment) -> EndpointRecord:
        """All of it, or nothing. A cancelled caller's connection is finished or undone in the background;
        :meth:`release` of its owner waits for that."""
        return await self._tasks.finish(self._connect(network, asked), "connect")

    async def _connect(self, network: NetworkRecord, asked: Attachment) -> EndpointRecord:
        if network.driver == "host":
            raise FailedPrecondition(
                "network",
                network.name,
                "a container with a network namespace of its own cannot join",
            )
        if network.config_only:
            why = "cannot create endpoint on configuration-only network"
            raise FailedPrecondition("network", network.name, why)
        with self.joining(network, asked.owner):
            return await self._connect_in_turn(network, asked)

    async def _connect_in_turn(self, network: NetworkRecord, asked: Attachment) -> EndpointRecord:
        async with self._locks.hold(asked.owner):
            others = self.of_owner(asked.owner)
            if any(other.network_id == network.id for other in others):
                raise AlreadyExists("endpoint", network.name, asked.owner)
            open_ports = any(is_open(mapping) for mapping in asked.ports)
            for attempt in range(_PORT_ATTEMPTS):
                try:
                    return await self._attempt(network, asked, others)
                except InUse as error:
                    # Between our look at an open port and taking it somebody else can have been faster.
                    last = attempt == _PORT_ATTEMPTS - 1
                    if error.kind != "port" or not open_ports or last:
                        raise
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(
        self, network: NetworkRecord, asked: Attachment, others: Sequence[EndpointRecord]
    ) -> EndpointRecord:
        ports = await self._settle(asked.ports, network)
        gateway = next((other for other in others if other.default_route), None)
        id = EndpointId(new_id())
        asked_mac = _checked_mac(asked.mac)
        if asked_mac and network.driver == "ipvlan":
            raise InvalidArgument("mac address", asked.mac, "ipvlan interfaces have their parent's")
        addresses = self._lease(network, id, asked)
        interfaces = {other.interface for other in others}
        record = EndpointRecord(
            id=id,
            network_id=network.id,
            owner=asked.owner,
            interface=_interface(asked.interface, interfaces),
            mac="" if network.driver == "ipvlan" else asked_mac or mac_address(addresses),
            addresses=addresses,
            ports=ports,
            aliases=asked.aliases,
            links=asked.links,
            priority=asked.priority,
            netns=str(asked.netns),
            default_route=has_way_out(network) and gateway is None,
            ingress_bps=asked.ingress_bps,
            egress_bps=asked.egress_bps,
            sysctls=asked.sysctls,
            link_local=asked.link_local,
            created_ns=time.time_ns(),
        )
        try:
            await self._events.commit(
                lambda tx: tx.endpoints.add(record), *self._event("connect", record)
            )
        except AlreadyExists as error:
            self._release_leases(record)
            if error.kind == "host port":
                name = error.name.rpartition("/")[0]
                holders = (error.holder,) if error.holder else ()
                raise InUse("port", name, holders, "port is already allocated") from error
            raise
        except BaseException:
            await self._undo(record)  # a write of unknown fate
            raise
        self._keep(record)
        try:
            if is_joined(network):
                await self._bridge.connect(self._config(record, network))
            if gateway is not None and has_way_out(network) and record.priority > gateway.priority:
                record = await self._hand_over(gateway, record)
        except BaseException:
            await self._undo(record)
            raise
        return record

    async def _settle(
        self, asked: Sequence[PortMapping], network: NetworkRecord
    ) -> tuple[PortMapping, ...]:
        if not publishes(network):
            return ()
        binding = host_binding(network)
        bound = [replace(port, host_ip=port.host_ip or binding) for port in asked]
        ports = tuple(without_nat(bound, direct_families(network), families(network)))
        return await self._chooser.settle(ports, self._port_taken)

    def _lease(self, network: NetworkRecord, id: str, asked: Attachment) -> tuple[str, ...]:
        wanted = {
            ip_address(a).version: a for a in (asked.address, asked.address6) if _is_address(a)
        }
        leased: list[tuple[AddressPool, str]] = []
        try:
            for subnet, pool in zip(network.subnets, self._pools_of(network), strict=True):
                version = ip_network(subnet).version
                if version == 6 and leased and not asked.ipv6:
                    continue
                address = wanted.pop(version, "")
                leased.append((pool, pool.lease(id, address)))
            if wanted:
                address = next(iter(wanted.values()))
                raise InvalidArgument(
                    "address", address, f"network {network.name!r} has no such subnet"
                )
        except BaseException:
            for pool, cidr in leased:
                pool.release(cidr, id)
            raise
        return tuple(cidr for _, cidr in leased)

    def _port_taken(self, protocol: str, port: int) -> bool:
        return any(
            mapping.protocol == protocol and mapping.host_port == port
            for record in self._records.values()
            for mapping in record.ports
        )

    # ------------------------------------------------------------ disconnect

    async def disconnect(self, id: str) -> None:
        """Off the host, then out of the database. Idempotent. Route and ports go to another network of the
        owner's when this was its gateway."""
        await self._tasks.finish(self._disconnect(EndpointId(id)), "disconnect")

    async def _disconnect(self, id: EndpointId) -> None:
        if (record := self._records.get(id)) is None:
            return
        async with self._locks.hold(record.owner):
            if (current := self._records.get(id)) is None:
                return
            if current.default_route and (heir := self._heir(current)) is not None:
                await self._hand_over(current, heir)
            await self._remove(self._records[id])

    def _heir(self, leaving: EndpointRecord) -> EndpointRecord | None:
        """The endpoint that becomes its owner's gateway."""
        able = [
            record
            for record in self.of_owner(leaving.owner)
            if record.id != leaving.id
            and (network := self._find_network(record.network_id)) is not None
            and has_way_out(network)
        ]
        return max(able, key=lambda record: record.priority, default=None)

    async def _hand_over(self, old: EndpointRecord, new: EndpointRecord) -> EndpointRecord:
        """Route and ports from one endpoint to another, in one transaction; then on the host. When that fails they
        are where they were."""
        old_network = self._find_network(old.network_id)
        new_network = self._find_network(new.network_id)
        assert old_network is not None, "its endpoint keeps it from being removed"
        assert new_network is not None, "its endpoint keeps it from being removed"
        without, heir = replace(old, default_route=False), replace(new, default_route=True)
        if publishes(new_network):
            # Otherwise they stay where they are, as long as that is there.
            without = replace(without, ports=())
            ports = await self._settle((*old.ports, *new.ports), new_network)
            heir = replace(heir, ports=ports)
        await self._events.commit(lambda tx: (tx.endpoints.put(without), tx.endpoints.put(heir)))
        self._keep(without)
        self._keep(heir)
        try:
            await self._bridge.connect(self._config(without, old_network))
            await self._bridge.connect(self._config(heir, new_network))
        except BaseException:
            await complete(self._give_back(old, new))
            raise
        return heir

    async def _give_back(self, old: EndpointRecord, new: EndpointRecord) -> None:
        """Both as they were before a hand-over that failed. Raises nothing: the first error is the one to report."""
        # The heir first: a port can be one endpoint's alone.
        records = (new, old)
        try:
            await self._events.commit(lambda tx: [tx.endpoints.put(each) for each in records])
        except Fault as error:
            log.error("cannot undo a hand-over", endpoint=old.id, reason=str(error))
            return
        for record in records:
            self._keep(record)
            try:
                network = self._find_network(record.network_id)
                await self._bridge.connect(self._config(record, network))
            except Fault as error:
                log.error("cannot undo a hand-over", endpoint=record.id, reason=str(error))

    async def release(self, owner: str) -> None:
        """Disconnect an owner from everything. Idempotent."""
        await self._tasks.finish(self._release(owner), "release")

    async def _release(self, owner: str) -> None:
        async with self._locks.hold(owner):
            for record in self.of_owner(owner):
                await self._remove(record)

    async def _remove(self, record: EndpointRecord) -> None:
        network = self._find_network(record.network_id)
        await self._bridge.disconnect(self._config(record, network))
        await self._events.commit(
            lambda tx: tx.endpoints.delete(record.id), *self._event("disconnect", record)
        )
        self._records.pop(record.id, None)
        self.generation += 1
        self._release_leases(record)

    def _keep(self, record: EndpointRecord) -> None:
        self._records[record.id] = record
        self.generation += 1

    def _event(self, action: str, record: EndpointRecord) -> Sequence[NewEvent]:
        """What Docker's clients are told; pods' places on the built-in network are no concern of theirs."""
        network = self._find_network(record.network_id)
        if network is None or network.name == POD_NETWORK:
            return ()
        attributes = {"container": record.owner, "name": network.name, "type": network.driver}
        return (NewEvent("network", action, network.id, attributes),)

    async def _undo(self, record: EndpointRecord) -> None:
        try:
            await self._remove(record)
        except Fault as error:
            # The row is still there, so the next start removes what is left; the first error is reported.
            log.error("cannot undo a failed connection", endpoint=record.id, reason=str(error))

    def _release_leases(self, record: EndpointRecord) -> None:
        for pool in self._pools.get(record.network_id, ()):
            for cidr in record.addresses:
                pool.release(cidr, record.id)

    # ------------------------------------------------------------ recovery

    async def recover(
        self,
        records: Sequence[EndpointRecord],
        networks: Sequence[NetworkRecord],
        live_owners: Container[str],
    ) -> None:
        """Plug in again what belongs to live owners and remove what belongs to nobody."""
        by_id = {network.id: network for network in networks}
        for record in records:
            self._keep(record)
            pools = self._pools_of(by_id[record.network_id])
            for pool, cidr in zip(pools, record.addresses, strict=False):
                pool.restore(cidr, record.id)
        for record in records:
            network = by_id[record.network_id]
            try:
                there = await asyncio.to_thread(os.path.exists, record.netns)
                if record.owner not in live_owners or not (there or not is_joined(network)):
                    log.info("removing an endpoint without an owner", endpoint=record.id)
                    await self._remove(record)
                elif is_joined(network):
                    await self._bridge.connect(self._config(record, network))
            except Fault as error:
                log.error("cannot recover an endpoint", endpoint=record.id, reason=str(error))

    async def remove_strays(self, known: Container[str]) -> None:
        """Remove from the host what no row of any namespace names."""
        for id in await self._bridge.endpoints_on_host():
            if id not in known:
                log.info("removing an endpoint that no row owns", endpoint=id)
                with logged("cannot remove an endpoint", endpoint=id):
                    await self._bridge.disconnect(EndpointConfig(id, "", Path(), "", "", (), ()))

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def forget_network(self, id: NetworkId) -> None:
        self._pools.pop(id, None)

    def _pools_of(self, network: NetworkRecord) -> Sequence[AddressPool]:
        if (pools := self._pools.get(network.id)) is None:
            pools = [
                AddressPool(subnet, gateway, within, network.reserved.values())
                for subnet, gateway, within in zip_longest(
                    network.subnets, network.gateways, network.ranges, fillvalue=""
                )
            ]
            self._pools[network.id] = pools
        return pools

    def _config(self, record: EndpointRecord, network: NetworkRecord | None) -> EndpointConfig:
        """For the driver; of a network that is gone, enough for disconnecting."""
        stacked = network is not None and network.driver in STACKED
        routed = network is not None and is_routed(network)
        gateways: tuple[str, ...] = ()
        if network and record.default_route and not routed:
            families = {ip_interface(cidr).version for cidr in record.addresses}
            gateways = tuple(g for g in network.gateways if g and ip_address(g).version in families)
        return EndpointConfig(
            id=record.id,
            bridge=network.bridge if network else "",
            netns=Path(record.netns),
            interface=record.interface,
            mac=record.mac,
            addresses=record.addresses,
            gateways=gateways,
            ports=() if stacked else record.ports,
            opened=network is not None and opens(network),
            mtu=mtu_of(network, self._settings.mtu) if network else self._settings.mtu,
            ingress_bps=record.ingress_bps,
            egress_bps=record.egress_bps,
            driver=network.driver if stacked and network else "bridge",
            mode=mode_of(network) if stacked and network else "",
            flag=flag_of(network) if stacked and network else "",
            device_route=routed and record.default_route,
            sysctls=record.sysctls,
            link_local=record.link_local,
        )


def _interface(asked: str, taken: Collection[str]) -> str:
    if asked and asked in taken:
        raise InvalidArgument(
            "interface name", asked, "the container has such an interface already"
        )
    return asked or next(n for i in range(len(taken) + 1) if (n := f"eth{i}") not in taken)


def _checked_mac(text: str) -> str:
    mac = text.lower().replace("-", ":")
    if mac and (not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1):
        raise InvalidArgument("mac address", text, "not six bytes of a single interface")
    return mac


def _is_address(text: str) -> bool:
    if not text:
        return False
    try:
        ip_address(text)
    except ValueError as error:
        raise InvalidArgument("address", text, "no IP address") from error
    return True
