"""``/networks``."""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.times import until_filter
from sharedrt.edges.docker.words import Refusal, bad_request, not_implemented
from sharedrt.model.faults import FailedPrecondition, InUse, NotFound
from sharedrt.model.records import EndpointRecord, NetworkRecord
from sharedrt.services.networks import NewNetwork
from sharedrt.wire.docker_filters import FilterError, Filters
from sharedrt.wire.docker_time import format_time

_PREDEFINED: Final = frozenset({"bridge", "host", "none"})
_DRIVERS: Final = {"none": "null"}
"""Names that Docker has another word for."""


def networks(call: Call) -> list[NetworkRecord]:
    """What Docker clients are shown: not the built-in network of pods."""
    return [record for record in call.runtime.networks.list() if record.name != "pods"]


async def get_networks(call: Call) -> web.StreamResponse:
    filters = call.filters("dangling", "driver", "id", "label", "name", "scope", "type")
    chosen = _Selection(call, filters)
    listed = [render_network(call, record) for record in networks(call) if chosen.passes(record)]
    return answer([versions.network(call.version, rendered) for rendered in listed])


class _Selection:
    def __init__(self, call: Call, filters: Filters) -> None:
        self._call, self._filters = call, filters
        try:
            self._dangling = filters.boolean("dangling")
        except FilterError as error:
            raise bad_request(str(error)) from error
        for kind in filters.get("type"):
            if kind not in ("builtin", "custom"):
                raise bad_request(f"invalid filter: 'type'='{kind}'")

    def passes(self, record: NetworkRecord) -> bool:
        filters = self._filters
        builtin = record.name in _PREDEFINED
        ids, names = filters.get("id"), filters.get("name")
        return (
            filters.exact("driver", _DRIVERS.get(record.driver, record.driver))
            and filters.exact("scope", "local")
            and filters.exact("type", "builtin" if builtin else "custom")
            and (not ids or any(record.id.startswith(id) for id in ids))
            and (not names or any(name in record.name for name in names))
            and filters.labels(record.labels)
            and (self._dangling is None or self._dangling == (not builtin and self._unused(record)))
        )

    def _unused(self, record: NetworkRecord) -> bool:
        return not self._call.runtime.networks.endpoints_on(record.id)


async def get_network(call: Call) -> web.StreamResponse:
    if call.text("scope") not in ("", "local"):
        raise NotFound("network", call.params["id"])
    record = call.runtime.networks.get(call.params["id"])
    rendered = render_network(call, record)
    rendered["Containers"] = _containers(call, call.runtime.networks.endpoints_on(record.id))
    return answer(versions.network(call.version, rendered))


def render_network(call: Call, record: NetworkRecord) -> dict[str, Any]:
    """A Network, without its containers, as lists have it."""
    return {
        "Name": record.name,
        "Id": record.id,
        "Created": format_time(record.created_ns),
        "Scope": "local",
        "Driver": _DRIVERS.get(record.driver, record.driver),
        "EnableIPv4": True,
        "EnableIPv6": any(":" in subnet for subnet in record.subnets),
        "IPAM": {
            "Driver": "default",
            "Options": None,
            "Config": [
                {"Subnet": subnet, "Gateway": gateway}
                for subnet, gateway in zip(record.subnets, record.gateways, strict=False)
            ],
        },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": dict(record.options),
        "Labels": dict(record.labels),
    }


def _containers(call: Call, endpoints: Sequence[EndpointRecord]) -> dict[str, Any]:
    rendered: dict[str, Any] = {}
    for endpoint in endpoints:
        try:
            name = call.runtime.containers.by_id(endpoint.owner).name
        except NotFound:
            continue  # a pod's, or one that is just being removed
        v4 = [address for address in endpoint.addresses if ":" not in address]
        v6 = [address for address in endpoint.addresses if ":" in address]
        rendered[endpoint.owner] = {
            "Name": name,
            "EndpointID": endpoint.id,
            "MacAddress": endpoint.mac,
            "IPv4Address": v4[0] if v4 else "",
            "IPv6Address": v6[0] if v6 else "",
        }
    return rendered


# ---------------------------------------------------------------- change


async def post_networks_create(call: Call) -> web.StreamResponse:
    request = translate_network(await call.body())
    if request.name in _PREDEFINED:
        raise Refusal(403, f"operation is not permitted on predefined {request.name} network")
    record = await call.finish(call.runtime.networks.create(request))
    await _tell(call, "create", record)
    return answer({"Id": record.id, "Warning": ""}, status=201)


def translate_network(body: Fields) -> NewNetwork:
    """Raises Refusal for what is malformed, or not done here, by name."""
    name = body.text("Name")
    if not name.strip():
        raise bad_request("invalid network name: name is empty")
    for flag in ("Ingress", "ConfigOnly"):
        if body.boolean(flag):
            raise not_implemented(f"{flag} of a network")
    if body.sub("ConfigFrom").text("Network"):
        raise not_implemented("ConfigFrom of a network")
    if body.text("Scope") not in ("", "local"):
        raise not_implemented(f"a network of scope {body.text('Scope')}")
    if body.optional_boolean("EnableIPv4") is False:
        raise not_implemented("a network without IPv4")
    driver = body.text("Driver") or "bridge"
    if driver != "bridge":
        raise not_implemented(f"the network driver {driver}")
    subnets, gateways = _ipam(body.sub("IPAM"))
    return NewNetwork(
        name=name,
        driver=driver,
        subnets=subnets,
        gateways=gateways,
        internal=body.boolean("Internal"),
        attachable=body.boolean("Attachable"),
        options=body.mapping("Options"),
        labels=body.mapping("Labels"),
    )


def _ipam(ipam: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if ipam.text("Driver") not in ("", "default"):
        raise not_implemented(f"the IPAM driver {ipam.text('Driver')}")
    if ipam.mapping("Options"):
        raise not_implemented("IPAM.Options")
    subnets, gateways = [], []
    for pool in ipam.objects("Config"):
        if pool.mapping("AuxiliaryAddresses"):
            raise not_implemented("IPAM.Config.AuxiliaryAddresses")
        subnet = pool.text("Subnet")
        if not subnet:
            if pool.raw:
                raise bad_request("invalid network config: no subnet")
            continue
        try:
            network = ipaddress.ip_network(subnet, strict=True)
        except ValueError as error:
            raise bad_request(
                f"invalid network config:\ninvalid subnet {subnet}: {error}"
            ) from error
        if pool.text("IPRange"):
            raise not_implemented("IPAM.Config.IPRange")
        subnets.append(str(network))
        gateways.append(pool.text("Gateway"))
    return tuple(subnets), tuple(gateways)


async def delete_network(call: Call) -> web.StreamResponse:
    record = call.runtime.networks.get(call.params["id"])
    await _remove(call, record)
    return web.Response(status=204)


async def _remove(call: Call, record: NetworkRecord) -> None:
    try:
        await call.finish(call.runtime.networks.remove(record.id))
    except FailedPrecondition as fault:
        message = f"{record.name} is a pre-defined network and cannot be removed"
        raise Refusal(403, message) from fault
    except InUse as fault:
        users = ", ".join(f'name:"{name}" id:"{id[:12]}"' for name, id in _users(call, fault.users))
        message = (
            f"error while removing network: network {record.name} has active endpoints ({users})"
        )
        raise Refusal(403, message) from fault
    await _tell(call, "destroy", record)


def _users(call: Call, owners: Sequence[str]) -> list[tuple[str, str]]:
    named = []
    for owner in owners:
        try:
            named.append((call.runtime.containers.by_id(owner).name, owner))
        except NotFound:
            named.append(("", owner))
    return named


async def post_networks_prune(call: Call) -> web.StreamResponse:
    filters = call.filters("label", "label!", "until")
    until = until_filter(filters)
    deleted = []
    for record in networks(call):
        if record.name in _PREDEFINED or (until and record.created_ns >= until):
            continue
        if not filters.labels(record.labels) or not filters.without_labels(record.labels):
            continue
        if _planned(call, record) or call.runtime.networks.endpoints_on(record.id):
            continue
        await _remove(call, record)
        deleted.append(record.name)
    await call.runtime.events.publish("network", "prune", "", {"reclaimed": "0"})
    return answer({"NetworksDeleted": deleted or None})


def _planned(call: Call, record: NetworkRecord) -> bool:
    """A container that does not run will want it at its next start."""
    return any(
        request.network in (record.id, record.name)
        for container in call.runtime.containers.list()
        for request in container.networks
    )


async def _tell(call: Call, action: str, record: NetworkRecord) -> None:
    await call.runtime.events.publish(
        "network", action, record.id, {"name": record.name, "type": record.driver}
    )


async def post_network_connect(call: Call) -> web.StreamResponse:
    call.runtime.networks.get(call.params["id"])
    raise not_implemented("connecting a container to a further network")


async def post_network_disconnect(call: Call) -> web.StreamResponse:
    call.runtime.networks.get(call.params["id"])
    raise not_implemented("disconnecting a container from a network")


ROUTES = (
    Route("GET", "/networks", get_networks),
    Route("POST", "/networks/create", post_networks_create),
    Route("POST", "/networks/prune", post_networks_prune),
    Route("GET", "/networks/{id}", get_network),
    Route("DELETE", "/networks/{id}", delete_network),
    Route("POST", "/networks/{id}/connect", post_network_connect),
    Route("POST", "/networks/{id}/disconnect", post_network_disconnect),
)
