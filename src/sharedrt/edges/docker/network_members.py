"""``POST /networks/{id}/connect`` and ``/disconnect``."""

from aiohttp import web

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.translate_network import endpoint_request
from sharedrt.edges.docker.words import Refusal, bad_request, port_in_use
from sharedrt.model.faults import (
    AlreadyExists,
    FailedPrecondition,
    InUse,
    InvalidArgument,
    NotFound,
)
from sharedrt.model.records import ContainerRecord, NetworkRecord, NetworkRequest
from sharedrt.model.spec import NamespaceMode


async def post_network_connect(call: Call) -> web.StreamResponse:
    """Body: ``Container``, ``EndpointConfig``."""
    body = await call.body()
    network = call.runtime.networks.get(call.params["id"])
    record = call.runtime.containers.get(body.text("Container"))
    request = endpoint_request(network.id, body.sub("EndpointConfig"))
    _check(record, network)
    check_endpoint(network, request)
    try:
        await call.finish(call.runtime.containers.connect_network(record.id, request))
    except AlreadyExists as fault:
        raise Refusal(
            403, f"endpoint with name {record.name} already exists in network {network.name}"
        ) from fault
    except InUse as fault:
        raise Refusal(403, in_use(fault)) from fault
    except InvalidArgument as fault:
        raise bad_request(f"invalid endpoint settings:\n{fault}") from fault
    return web.Response(status=200)


async def post_network_disconnect(call: Call) -> web.StreamResponse:
    """Body: ``Container``, ``Force`` (of a container that is gone: nothing is left of such here)."""
    body = await call.body()
    network = call.runtime.networks.get(call.params["id"])
    try:
        record = call.runtime.containers.get(body.text("Container"))
    except NotFound:
        if body.boolean("Force"):
            return web.Response(status=200)
        raise
    _check(record, network)
    try:
        await call.finish(call.runtime.containers.disconnect_network(record.id, network.id))
    except FailedPrecondition as fault:
        raise Refusal(
            403, f"container {record.id} is not connected to network {network.name}"
        ) from fault
    return web.Response(status=200)


def _check(record: ContainerRecord, network: NetworkRecord) -> None:
    """Raises Refusal in dockerd's words for containers and networks that cannot come together."""
    if network.config_only:
        raise Refusal(403, "cannot create endpoint on configuration-only network")
    if network.driver == "host":
        raise bad_request(
            "container cannot be disconnected from host network or connected to host network"
        )
    if record.sandbox_id is not None or (
        record.spec.namespaces.network.mode is not NamespaceMode.PRIVATE
    ):
        raise bad_request(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if network.driver == "none" or ContainerView(record).network_mode == "none":
        raise bad_request(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )


def check_endpoint(network: NetworkRecord, request: NetworkRequest) -> None:
    """What only user-defined networks have. Raises Refusal."""
    if network.name != "bridge":
        return
    if request.address or request.address6:
        raise bad_request(
            "invalid config for network bridge: invalid endpoint settings:\n"
            "user specified IP address is supported on user defined networks only"
        )
    if request.aliases:
        raise bad_request(
            "invalid config for network bridge: invalid endpoint settings:\n"
            "network-scoped aliases are only supported for user-defined networks"
        )


def in_use(fault: InUse) -> str:
    """Dockerd's words for an address or port that somebody has."""
    if fault.kind == "address":
        return "Address already in use"
    if fault.kind == "port":
        return port_in_use(fault)
    return fault.reason or str(fault)
