"""``NetworkSettings`` and ports of a container."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.host_abilities import has_ipv6
from sharedrt.edges.docker.translate_network import driver_options, exposed_port
from sharedrt.model.records import EndpointRecord, NetworkRecord, NetworkRequest, PortMapping

NetworkNames = Callable[[str], NetworkRecord | None]
"""A network by id or name; ``None`` when it is gone."""


def render_network_settings(
    view: ContainerView, endpoints: Sequence[EndpointRecord], names: NetworkNames
) -> dict[str, Any]:
    """``NetworkSettings`` of inspect. The fields outside ``Networks`` repeat those of ``bridge``, if it is there."""
    networks = render_networks(view, endpoints, names)
    bridge = networks.get("bridge", {})
    running = view.running
    return {
        "Bridge": "",
        "SandboxID": view.record.id if running else "",
        "SandboxKey": "",
        "Ports": render_port_map(view, endpoints) if running else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.get("EndpointID", ""),
        "Gateway": bridge.get("Gateway", ""),
        "GlobalIPv6Address": bridge.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": bridge.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": bridge.get("IPAddress", ""),
        "IPPrefixLen": bridge.get("IPPrefixLen", 0),
        "IPv6Gateway": bridge.get("IPv6Gateway", ""),
        "MacAddress": bridge.get("MacAddress", ""),
        "Networks": networks,
    }


def render_networks(
    view: ContainerView, endpoints: Sequence[EndpointRecord], names: NetworkNames
) -> dict[str, dict[str, Any]]:
    """EndpointSettings by network name: what it is plugged into, or will be at its start."""
    by_network = {endpoint.network_id: endpoint for endpoint in endpoints}
    rendered: dict[str, dict[str, Any]] = {}
    for request in view.record.networks:
        network = names(request.network)
        name = network.name if network else request.network
        endpoint = by_network.pop(network.id, None) if network else None
        rendered[name] = _endpoint(view, network, endpoint, request)
    for network_id, endpoint in by_network.items():
        network = names(network_id)
        name = network.name if network else network_id
        rendered[name] = _endpoint(view, network, endpoint, NetworkRequest(network_id))
    if view.network_mode in ("host", "none"):
        rendered[view.network_mode] = _endpoint(
            view, names(view.network_mode), None, NetworkRequest(view.network_mode)
        )
    return rendered


def _endpoint(
    view: ContainerView,
    network: NetworkRecord | None,
    endpoint: EndpointRecord | None,
    asked: NetworkRequest,
) -> dict[str, Any]:
    addresses: dict[str, Any] = {
        "IPv4Address": asked.address,
        "IPv6Address": asked.address6,
        "LinkLocalIPs": list(asked.link_local),
    }
    settings: dict[str, Any] = {
        "IPAMConfig": {key: value for key, value in addresses.items() if value} or None,
        "Links": list(asked.links) or None,
        "Aliases": list(asked.aliases) or None,
        "MacAddress": asked.mac,
        "DriverOpts": driver_options(asked),
        "GwPriority": asked.priority,
        "NetworkID": network.id if network else "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": _dns_names(view, network, asked),
    }
    if endpoint is None:
        return settings
    settings["EndpointID"] = endpoint.id
    settings["MacAddress"] = endpoint.mac
    for address in endpoint.addresses:
        ip, _, prefix = address.partition("/")
        if ":" in ip:
            settings["GlobalIPv6Address"] = ip
            settings["GlobalIPv6PrefixLen"] = int(prefix or 128)
        else:
            settings["IPAddress"] = ip
            settings["IPPrefixLen"] = int(prefix or 32)
    for gateway in network.gateways if network and not network.internal else ():
        if ":" not in gateway:
            settings["Gateway"] = gateway
        elif settings["GlobalIPv6Address"]:
            settings["IPv6Gateway"] = gateway
    return settings


def _dns_names(
    view: ContainerView, network: NetworkRecord | None, asked: NetworkRequest
) -> list[str] | None:
    if network is None or network.name in ("bridge", "host", "none"):
        return None
    names = [
        view.record.name,
        *asked.aliases,
        view.record.id[:12],
        view.record.spec.hostname,
    ]
    return list(dict.fromkeys(name for name in names if name))


# ---------------------------------------------------------------- ports


def _published(endpoints: Iterable[EndpointRecord]) -> Iterable[tuple[int, str, str, int]]:
    """(container port, protocol, host address, host port) of what is published now; without NAT there is no host
    port, 0."""
    for endpoint in endpoints:
        for port in endpoint.ports:
            for address in (port.host_ip,) if port.host_ip else _everywhere(endpoint, port):
                host_port = 0 if port.direct else port.host_port
                yield port.container_port, port.protocol, address, host_port


def _everywhere(endpoint: EndpointRecord, port: PortMapping) -> Sequence[str]:
    """The addresses that stand for all of the host's; SCTP is not passed on from one family to the other."""
    both = port.protocol != "sctp" or any(":" in address for address in endpoint.addresses)
    return ("0.0.0.0", "::") if both and has_ipv6() else ("0.0.0.0",)


def render_port_map(
    view: ContainerView, endpoints: Sequence[EndpointRecord]
) -> dict[str, list[dict[str, str]] | None]:
    """``Ports`` of inspect: every exposed port, with where it is published."""
    ports: dict[str, list[dict[str, str]] | None] = dict.fromkeys(view.exposed_ports)
    for port, protocol, address, host_port in _published(endpoints):
        key = f"{port}/{protocol}"
        bindings = ports.get(key) or []
        bindings.append({"HostIp": address, "HostPort": str(host_port or "")})
        ports[key] = bindings
    return ports


def render_port_list(
    view: ContainerView, endpoints: Sequence[EndpointRecord]
) -> list[dict[str, Any]]:
    """``Ports`` of a list: published ones, then those that are only exposed."""
    if not view.running:
        return []
    listed: list[dict[str, Any]] = []
    published: set[tuple[int, str]] = set()
    for port, protocol, address, host_port in _published(endpoints):
        published.add((port, protocol))
        public = {"PublicPort": host_port} if host_port else {}
        listed.append({"IP": address, "PrivatePort": port, **public, "Type": protocol})
    for text in view.exposed_ports:
        exposed = exposed_port(text)
        if exposed is not None and exposed not in published:
            listed.append({"PrivatePort": exposed[0], "Type": exposed[1]})
    return listed
