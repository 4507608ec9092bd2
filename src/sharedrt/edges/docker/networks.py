"""``/networks``."""

import ipaddress
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.network_members import (
    post_network_connect,
    post_network_disconnect,
)
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.times import until_filter
from sharedrt.edges.docker.translate_network_create import translate_network
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.model.faults import FailedPrecondition, InUse, NotFound, ResourceExhausted
from sharedrt.model.records import EndpointRecord, NetworkRecord
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
        return (
            filters.exact("driver", _DRIVERS.get(record.driver, record.driver))
            and filters.exact("scope", "local")
            and filters.exact("type", "builtin" if builtin else "custom")
            and filters.matches("id", record.id)
            and filters.matches("name", record.name)
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
        "EnableIPv4": 4 in _families(record),
        "EnableIPv6": 6 in _families(record),
        "IPAM": {
            "Driver": "default",
            "Options": record.ipam_options,
            "Config": _pools(record),
        },
        "Internal": record.internal,
        "Attachable": record.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": record.config_from},
        "ConfigOnly": record.config_only,
        "Containers": {},
        "Options": dict(record.options),
        "Labels": dict(record.labels),
    }


def _families(record: NetworkRecord) -> Sequence[int]:
    if record.config_only:
        return record.families
    if not record.subnets:  # the host's, and none
        return (4,)
    return tuple(ipaddress.ip_network(subnet).version for subnet in record.subnets)


def _pools(record: NetworkRecord) -> list[dict[str, Any]]:
    """IPAM.Config: auxiliary addresses stand with the subnet that they are in."""
    pools: list[dict[str, Any]] = []
    for subnet, gateway, within in zip_longest(
        record.subnets, record.gateways, record.ranges, fillvalue=""
    ):
        pool: dict[str, Any] = {"Subnet": subnet}
        if within:
            pool["IPRange"] = within
        if gateway:
            pool["Gateway"] = gateway
        network = ipaddress.ip_network(subnet)
        reserved = {n: a for n, a in record.reserved.items() if ipaddress.ip_address(a) in network}
        if reserved:
            pool["AuxiliaryAddresses"] = reserved
        pools.append(pool)
    return pools


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
    given = (await call.body()).raw
    request = translate_network(Fields(versions.network_request(call.version, given)))
    if request.name in _PREDEFINED:
        raise Refusal(403, f"operation is not permitted on predefined {request.name} network")
    try:
        record = await call.finish(call.runtime.networks.create(request))
    except ResourceExhausted as fault:
        raise bad_request("all predefined address pools have been fully subnetted") from fault
    except InUse as fault:
        if fault.kind == "subnet":
            raise Refusal(403, "Pool overlaps with other one on this address space") from fault
        raise Refusal(403, fault.reason or str(fault)) from fault
    except NotFound as fault:
        raise Refusal(404, f'configuration network "{fault.name}" does not exist') from fault
    return answer({"Id": record.id, "Warning": ""}, status=201)


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
        if fault.kind == "configuration network":
            raise Refusal(403, f'configuration network "{record.name}" is in use') from fault
        users = ", ".join(f'name:"{name}" id:"{id[:12]}"' for name, id in _users(call, fault.users))
        message = (
            f"error while removing network: network {record.name} has active endpoints ({users})"
        )
        raise Refusal(403, message) from fault


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
        if record.name in _PREDEFINED or record.config_only:
            continue
        if until is not None and record.created_ns >= until:
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


ROUTES = (
    Route("GET", "/networks", get_networks),
    Route("GET", "/networks/", get_networks),
    Route("POST", "/networks/create", post_networks_create),
    Route("POST", "/networks/prune", post_networks_prune),
    Route("GET", "/networks/{id}", get_network),
    Route("DELETE", "/networks/{id}", delete_network),
    Route("POST", "/networks/{id}/connect", post_network_connect),
    Route("POST", "/networks/{id}/disconnect", post_network_disconnect),
)
