"""One namespace's networks (``runtime.within(ns).networks``)."""

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.locks import KeyedLocks
from sharedrt.model.drivers import BridgeNetwork, NameServers
from sharedrt.model.faults import FailedPrecondition, Fault, InUse, NotFound, Unavailable
from sharedrt.model.ids import DOCKER_NAMESPACE, Namespace, NetworkId, new_id
from sharedrt.model.records import DnsConfig, EndpointRecord, NetworkRecord, PortMapping
from sharedrt.model.stores import Database, NamespacedStore
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.logged import logged
from sharedrt.services.networks.addresses import free_subnet, overlaps
from sharedrt.services.networks.bridges import (
    POD_NETWORK,
    PREDEFINED,
    UNSETTLED,
    NewNetwork,
    bridge_config,
    check_request,
    configured,
    default_bridge,
    direct_families,
    has_names,
    is_as_configured,
    is_joined,
    make_record,
    name_server,
    pod_bridge,
    with_ipv4_subnet,
)
from sharedrt.services.networks.endpoints import Attachment, Endpoints
from sharedrt.services.networks.names import Names, OwnerNames
from sharedrt.services.networks.settings import NetworkSettings
from sharedrt.services.networks.stacked import STACKED, parent_config, refuse_shared_parent
from sharedrt.services.working_set import WorkingSet
from sharedrt.wire.resolv_conf import names_stub, parse_resolv_conf, render_resolv_conf

log = structlog.get_logger(__name__)

RESOLVER: Final = "127.0.0.11"
"""What containers on user-defined networks have in resolv.conf, as at dockerd; it leads to the server on
their gateway."""
_INSIDE: Final = "inside"
"""In the place of a gateway's address: the container's own network namespace."""
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_RESOLVED_CONF: Final = Path("/run/systemd/resolve/resolv.conf")
_SUBNET_ATTEMPTS: Final = 10
_TENANT_BRIDGE: Final = "srt-"
"""How the bridge of a tenant's network ``bridge`` begins."""
_SAME_BRIDGE: Final = "networks have same bridge name"


class Networks:
    """Networks by name and id, and who is on them. ``get``, ``list`` and ``endpoints_*`` never wait."""

    def __init__(
        self,
        store: NamespacedStore,
        database: Database,
        bridge: BridgeNetwork,
        settings: NetworkSettings,
        events: NamespacedEvents,
        name_servers: NameServers,
        describe: Callable[[str], OwnerNames | None] = lambda ref: None,
    ) -> None:
        self._store = store
        self._events = events
        self._database = database
        self._bridge = bridge
        self._settings = settings
        self._records = WorkingSet[NetworkRecord]("network", lambda r: r.id, lambda r: r.name)
        self._endpoints = Endpoints(
            events, bridge, settings, self._records.find, str(store.namespace)
        )
        self._name_servers = name_servers
        self._names = Names(self._endpoints, self._records.find, describe)
        self._locks = KeyedLocks()

    # ------------------------------------------------------------ look

    def get(self, ref: str) -> NetworkRecord:
        """By id, name or unique id prefix. Raises NotFound (kind ``network``), Ambiguous."""
        return self._records.get(ref)

    def list(self) -> Sequence[NetworkRecord]:
        return self._records.list()

    def endpoints_of(self, owner: str) -> Sequence[EndpointRecord]:
        """A container's or sandbox's places, in the order of their making."""
        return self._endpoints.of_owner(owner)

    def endpoints_on(self, network: NetworkId) -> Sequence[EndpointRecord]:
        return self._endpoints.on_network(network)

    # ------------------------------------------------------------ networks

    async def ensure_defaults(self) -> None:
        """Docker's three: ``bridge``, ``host`` and ``none``. Idempotent."""
        async with self._locks.hold("defaults"):
            known = {record.name for record in self._records}
            if "bridge" not in known:
                name, subnet = self._default_bridge()
                await self._add_bridge(
                    default_bridge("bridge", name, subnet or UNSETTLED, self._settings.mtu),
                    preferred=subnet,
                )
            for driver in ("host", "none"):
                if driver not in known:
                    record = NetworkRecord(
                        NetworkId(new_id()), driver, driver, created_ns=time.time_ns()
                    )
                    self._records.put(await self._add_row(record))

    async def ensure_pods(self) -> NetworkRecord:
        """The built-in pod network, made when it is first needed; made anew when other subnets have been configured and
        no pod is on it."""
        settings = self._settings
        async with self._locks.hold("defaults"):
            for record in self._records.list():
                if record.name != POD_NETWORK:
                    continue
                if is_as_configured(record, settings.pod_subnets):
                    return record
                try:
                    with self._endpoints.leaving(record):
                        await self._drop(record)
                except InUse:
                    return record
            first = settings.pod_subnets[0]
            record = pod_bridge(
                POD_NETWORK, settings.pod_bridge, settings.pod_subnets, settings.mtu
            )
            # The pools are for IPv4.
            return await self._add_bridge(record, preferred=first, only=":" in first)

    async def create(self, request: NewNetwork) -> NetworkRecord:
        """A network of a client.

        Raises:
            AlreadyExists: the name. InUse: kind ``subnet`` or ``bridge``. InvalidArgument, Unimplemented.
            NotFound: kind ``configuration network``.
            ResourceExhausted: no pool has a free subnet.
        """
        if request.config_from:
            request = configured(request, self._configuration(request.config_from))
        check_request(request)
        record = make_record(request)
        if record.driver == "bridge" and self._is_spoken_for(record.bridge):
            raise InUse("bridge", record.bridge, (), _SAME_BRIDGE)
        self._records.reserve(record.name, record.id)
        try:
            if record.config_only:
                return await self._add_configuration(record)
            settled = UNSETTLED not in record.subnets
            preferred = record.subnets[0] if settled else ""
            return await self._add_bridge(record, preferred=preferred, only=settled)
        except BaseException:
            self._records.release(record.name, record.id)
            raise

    def _configuration(self, name: str) -> NetworkRecord:
        for record in self._records:
            if record.config_only and record.name == name:
                return record
        raise NotFound("configuration network", name)

    async def _add_configuration(self, record: NetworkRecord) -> NetworkRecord:
        await self._events.commit(
            lambda tx: tx.networks.add(record),
            NewEvent("network", "create", record.id, _attributes(record)),
            then=lambda: self._records.put(record),
        )
        return record

    async def remove(self, ref: str) -> None:
        """Raises NotFound, FailedPrecondition (a predefined one), InUse while endpoints are on it, or networks were
        made from it (kind ``configuration network``)."""
        record = self.get(ref)
        if record.name in (*PREDEFINED, POD_NETWORK):
            raise FailedPrecondition("network", record.name, "is predefined and cannot be removed")
        made = [other.id for other in self._records if other.config_from == record.name]
        if record.config_only and made:
            raise InUse("configuration network", record.name, tuple(made))
        with self._endpoints.leaving(record):
            await self._drop(record, NewEvent("network", "destroy", record.id, _attributes(record)))
            await self._name_servers.stop(record.id)

    async def _drop(self, record: NetworkRecord, *events: NewEvent) -> None:
        """Off the host, then out of the database."""
        if is_joined(record):
            await self._remove_link(record)
        await self._events.commit(
            lambda tx: tx.networks.delete(record.id),
            *events,
            then=lambda: self._records.drop(record.id),
        )
        self._endpoints.forget_network(record.id)
        await self._tell_neighbours()

    def _default_bridge(self) -> tuple[str, str]:
        """Interface name and wanted subnet of ``bridge``: configured for Docker's own namespace; a tenant's
        is named after it, and takes a subnet from the pools."""
        if self._store.namespace == DOCKER_NAMESPACE:
            return self._settings.bridge, self._settings.subnet
        digest = sha256(f"{self._settings.bridge} {self._store.namespace}".encode()).hexdigest()
        return f"{_TENANT_BRIDGE}{digest[:11]}", ""

    def _is_spoken_for(self, bridge: str) -> bool:
        """Whether a bridge is a network's that we make ourselves, in any namespace, even if it is not there yet."""
        ours = (self._settings.bridge, self._settings.pod_bridge)
        return bridge in ours or bridge.startswith(_TENANT_BRIDGE)

    async def _add_bridge(
        self, record: NetworkRecord, *, preferred: str, only: bool = False
    ) -> NetworkRecord:
        """Row, then bridge. The first subnet is ``preferred`` if it is free, else (unless ``only``) a pool's."""
        for _ in range(_SUBNET_ATTEMPTS):
            record = await self._with_subnet(record, preferred, only)
            record = await self._add_row(record)
            if not await self._is_beaten(record):
                break
            # Somebody else took it in the same moment; the older row keeps it.
            await self._delete_row(record.id)
        else:
            raise InUse("subnet", record.subnets[0], ())
        try:
            await self._make_link(record)
        except BaseException:
            await self._delete_row(record.id)
            raise
        self._records.put(record)
        await self._tell_neighbours()
        if record.name not in (*PREDEFINED, POD_NETWORK):
            await self._events.publish("network", "create", record.id, _attributes(record))
        await self._serve_names(record)
        return record

    async def _make_link(self, record: NetworkRecord) -> None:
        """The host's part: a bridge, or the link that macvlan and ipvlan interfaces sit on."""
        if record.driver in STACKED:
            networks = await self._database.read_global(lambda tx: tx.all_networks())
            refuse_shared_parent(record, self._store.namespace, networks)
            await self._bridge.ensure_parent(parent_config(record))
        else:
            await self._ensure_bridge(record)

    async def _ensure_bridge(self, record: NetworkRecord) -> None:
        near = [
            other.bridge
            for other in self._records
            if other.driver == "bridge" and other.id != record.id
        ]
        await self._bridge.ensure_bridge(
            bridge_config(record, self._store.namespace, self._settings.mtu, tuple(sorted(near)))
        )

    async def _tell_neighbours(self) -> None:
        """Bridges without NAT know those from which their containers are reached."""
        for record in self._records:
            if direct_families(record):
                try:
                    await self._ensure_bridge(record)
                except Fault as error:
                    log.error("neighbours are not known", network=record.name, reason=str(error))

    async def _remove_link(self, record: NetworkRecord) -> None:
        if record.driver not in STACKED:
            await self._bridge.remove_bridge(record.bridge)
            return
        networks = await self._database.read_global(lambda tx: tx.all_networks())
        # A VLAN's subinterface may carry several networks.
        if all(o.bridge != record.bridge or o.id == record.id for _, o in networks):
            await self._bridge.remove_parent(record.bridge)

    async def _add_row(self, record: NetworkRecord) -> NetworkRecord:
        """Made when it is written, since writes have an order: of two rows the later one is who gives way."""
        return await self._store.write(
            lambda tx: tx.networks.add(replace(record, created_ns=time.time_ns()))
        )

    async def _delete_row(self, id: NetworkId) -> None:
        await self._store.write(lambda tx: tx.networks.delete(id))

    async def _with_subnet(
        self, record: NetworkRecord, preferred: str, only: bool
    ) -> NetworkRecord:
        networks = await self._database.read_global(lambda tx: tx.all_networks())
        for namespace, network in networks:
            if _share_bridge(record, network):
                raise InUse("bridge", record.bridge, self._shown(namespace, network), _SAME_BRIDGE)
        taken = {
            subnet: (namespace, network)
            for namespace, network in networks
            if not network.config_only
            for subnet in network.subnets
        }
        for subnet in record.subnets[0 if only else 1 :]:
            if other := overlaps(subnet, taken):
                users = self._shown(*taken[other])
                what = other if users else "another network"
                raise InUse("subnet", subnet, users, f"overlaps with {what}")
        if only:
            return record
        in_the_way = [*taken, *await self._bridge.host_subnets()]
        subnet = preferred
        if not preferred or (other := overlaps(preferred, in_the_way)):
            subnet = free_subnet(self._settings.pools, in_the_way)
            if preferred:
                log.warning(
                    "subnet is taken", network=record.name, subnet=preferred, instead=subnet
                )
        return with_ipv4_subnet(record, subnet)

    def _shown(self, namespace: Namespace, network: NetworkRecord) -> tuple[str, ...]:
        """Who is in the way, as far as it is this namespace's to know."""
        return (network.id,) if namespace == self._store.namespace else ()

    async def _is_beaten(self, record: NetworkRecord) -> bool:
        """Whether an older row has a subnet, or the bridge, that this one has taken."""
        networks = await self._database.read_global(lambda tx: tx.all_networks())
        return any(
            _share_bridge(record, other)
            or any(overlaps(subnet, other.subnets) for subnet in record.subnets)
            for _, other in networks
            if not other.config_only
            and (other.created_ns, other.id) < (record.created_ns, record.id)
        )

    # ------------------------------------------------------------ endpoints

    async def connect(
        self,
        network_ref: str,
        *,
        owner: str,
        netns: Path,
        ports: Sequence[PortMapping] = (),
        aliases: Sequence[str] = (),
        mac: str = "",
        address: str = "",
        address6: str = "",
        links: Sequence[str] = (),
        priority: int = 0,
        ingress_bps: int = 0,
        egress_bps: int = 0,
        interface: str = "",
        sysctls: Sequence[str] = (),
        link_local: Sequence[str] = (),
        ipv6: bool = True,
    ) -> EndpointRecord:
        """Give ``owner`` a place: leases, ports, interface. All of it, or nothing.

        Args:
            ports: a host port of 0 is chosen here; the record has it.
            ipv6: without, it gets no IPv6 address where it has an IPv4 one.

        Raises:
            NotFound: kind ``network``. InUse: kind ``port`` (named ``address:port``) or ``address``.
            AlreadyExists: the owner is on that network. InvalidArgument, ResourceExhausted,
            FailedPrecondition.
        """
        asked = Attachment(
            owner,
            netns,
            tuple(ports),
            tuple(aliases),
            mac,
            address,
            address6,
            tuple(links),
            priority,
            ingress_bps,
            egress_bps,
            interface,
            tuple(sysctls),
            tuple(link_local),
            ipv6,
        )
        network = self.get(network_ref)
        with self._endpoints.joining(network, owner):
            if not self._name_servers.serves(network.id):
                await self._serve_names(network)  # what held the port may be gone by now
            before = self._server_of(owner)
            endpoint = await self._endpoints.connect(network, asked)
        try:
            await self._point_names(owner, netns, before)
        except BaseException:
            await self._endpoints.disconnect(endpoint.id)
            raise
        return self._endpoints.get(endpoint.id)

    async def disconnect(self, endpoint_id: str) -> None:
        """Idempotent."""
        owner, netns = self._endpoints.place_of(endpoint_id)
        before = self._server_of(owner)
        await self._endpoints.disconnect(endpoint_id)
        await self._point_names(owner, netns, before)

    async def release_owner(self, owner: str) -> None:
        """Disconnect a container or sandbox from all it is on. Idempotent."""
        await self._endpoints.release(owner)
        await self._name_servers.stop(_inside_key(owner))

    # ------------------------------------------------------------ recovery

    async def recover(self, live_owners: Container[str]) -> None:
        """At start, before any other call: read the rows, put bridges, rules and live endpoints back in
        place, and remove what no row of any namespace owns."""
        await self._remove_strays()
        networks, endpoints = await self._store.read(
            lambda tx: (tx.networks.list(), tx.endpoints.list())
        )
        for record in networks:
            self._records.put(record)
            if is_joined(record):
                try:
                    await self._make_link(record)
                except Fault as error:
                    log.error("cannot recover a network", network=record.name, reason=str(error))
        await self._tell_neighbours()
        await self._endpoints.recover(endpoints, networks, live_owners)
        for record in networks:
            await self._serve_names(record)
        for owner, netns in {(e.owner, e.netns) for e in self._endpoints.all()}:
            try:
                await self._point_names(owner, Path(netns), "")
            except Fault as error:
                log.error("cannot recover names", owner=owner, reason=str(error))

    async def _remove_strays(self) -> None:
        networks, endpoints = await self._database.read_global(
            lambda tx: (tx.all_networks(), tx.all_endpoints())
        )
        await self._endpoints.remove_strays({record.id for _, record in endpoints})
        known = {record.bridge for _, record in networks}
        for name in await self._bridge.bridges_on_host():
            if name not in known:
                log.info("removing a bridge that no row owns", bridge=name)
                with logged("cannot remove a bridge", bridge=name):
                    await self._bridge.remove_bridge(name)
        for name in await self._bridge.parents_on_host():
            if name not in known:
                log.info("removing a parent link that no row owns", link=name)
                with logged("cannot remove a parent link", link=name):
                    await self._bridge.remove_parent(name)

    async def aclose(self) -> None:
        """Wait for nothing new; what is under way is cancelled, and mended by the next start."""
        for record in self._records:
            await self._name_servers.stop(record.id)
        for owner in {endpoint.owner for endpoint in self._endpoints.all()}:
            await self._name_servers.stop(_inside_key(owner))
        await self._endpoints.aclose()

    # ------------------------------------------------------------ names

    def resolv_conf(
        self,
        dns: DnsConfig,
        *,
        host_network: bool,
        fill_from_host: bool = False,
        resolver: str = "",
    ) -> str:
        """Text of /etc/resolv.conf; see :func:`sharedrt.wire.resolv_conf.render_resolv_conf`."""
        text = _read(_RESOLV_CONF)
        if not host_network and names_stub(text):
            text = _read(_RESOLVED_CONF) or text
        return render_resolv_conf(
            dns,
            parse_resolv_conf(text),
            host_network=host_network,
            fill_from_host=fill_from_host,
            resolver=resolver,
        )

    async def _serve_names(self, record: NetworkRecord) -> None:
        """A network without names is still one: what is in the way is for the administrator to read."""
        if not has_names(record) or not name_server(record):
            return
        try:
            await self._name_servers.serve(
                record.id,
                # Containers ask over IPv4; an address of IPv6's link-local ones is the interface's, not the host's.
                tuple(g for g in record.gateways if g and not ip_address(g).is_link_local),
                partial(self._names.answer, record.id),
            )
        except Unavailable as error:
            log.error("names are not answered", network=record.name, reason=str(error))

    def names_changed(self) -> None:
        """A container has another name."""
        self._endpoints.generation += 1

    def has_names(self, network: NetworkId) -> bool:
        """Whether containers on it find each other by name."""
        return has_names(self._records.by_id(network))

    def resolver_of(self, owner: str) -> str:
        """Where a container asks for names; empty when it is on no user-defined network."""
        return RESOLVER if self._server_of(owner) else ""

    async def _point_names(self, owner: str, netns: Path, before: str) -> None:
        """Let the container's resolver lead to where it is answered now."""
        if (server := self._server_of(owner)) == before:
            return
        if before == _INSIDE:
            await self._name_servers.stop(_inside_key(owner))
        if server == _INSIDE:
            await self._serve_inside(owner, netns)
        else:
            await self._bridge.point_names(netns, server)

    async def _serve_inside(self, owner: str, netns: Path) -> None:
        """Where the host has no address on its networks, a container is answered in its own network namespace."""
        answer = partial(self._names.answer_owner, owner)
        try:
            ports = await self._name_servers.serve_inside(_inside_key(owner), netns, answer)
        except Unavailable as error:
            log.error("names are not answered", owner=owner, reason=str(error))
            return
        await self._bridge.point_names(netns, RESOLVER, ports)

    def _server_of(self, owner: str) -> str:
        """The gateway that answers, ``_INSIDE``, or nothing on networks without names."""
        found = ""
        for endpoint in self._endpoints.of_owner(owner):
            network = self._records.by_id(endpoint.network_id)
            if has_names(network):
                if server := name_server(network):
                    return server
                found = _INSIDE
        return found


def _inside_key(owner: str) -> str:
    return f"inside:{owner}"


def _share_bridge(record: NetworkRecord, other: NetworkRecord) -> bool:
    """Whether one's addresses and rules would be the other's. (Networks stacked on one parent may share that.)"""
    both = record.driver == other.driver == "bridge"
    return both and record.id != other.id and record.bridge == other.bridge


def _attributes(record: NetworkRecord) -> dict[str, str]:
    return {"name": record.name, "type": record.driver}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # a host without one: the fallback servers then
