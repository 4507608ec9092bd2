"""``NetworkMode``, ``NetworkingConfig``, ports, DNS and hosts of a create request."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.translate_config import ContainerConfig
from sharedrt.edges.docker.words import Refusal, bad_request, not_implemented
from sharedrt.model.records import DnsConfig, NetworkRequest, PortMapping
from sharedrt.model.spec import NamespaceMode, NamespaceRef
from sharedrt.wire.go_numbers import parse_digits

DEFAULT_NETWORK: Final = "bridge"
_PROTOCOLS: Final = frozenset({"tcp", "udp", "sctp"})
_IFNAME: Final = "com.docker.network.endpoint.ifname"
_SYSCTLS: Final = "com.docker.network.endpoint.sysctls"
_IFNAME_MAX: Final = 15
MAX_PORT: Final = (1 << 16) - 1
_OURS: Final = "com.docker.network."
"""Options that begin so ask for something of the engine's own drivers."""
_SYSCTL: Final = re.compile(r"net\.(ipv4|ipv6|mpls)(\.(conf|neigh))?\.IFNAME\.[a-z0-9_]+=[^=,]*")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Where the container's network namespace comes from, and what is plugged into it."""

    namespace: NamespaceRef
    networks: tuple[NetworkRequest, ...]
    ports: tuple[PortMapping, ...]


def plan_network(
    mode: str,
    host: Fields,
    networking: Fields,
    config: ContainerConfig,
    warnings: list[str],
    network_id: Callable[[str], str] = str,
) -> NetworkPlan:
    """The plan for ``mode`` (with ``container:ID`` resolved).

    Args:
        network_id: of a network by name or id.

    Raises:
        Refusal: conflicting options in dockerd's words; links, which this daemon does not do.
    """
    ports = translate_ports(host, config)
    if config.network_disabled or mode == "none":
        return NetworkPlan(NamespaceRef(), (), ())
    if mode == "host":
        if ports:
            warnings.append("Published ports are discarded when using host network mode")
        return NetworkPlan(NamespaceRef(NamespaceMode.HOST), (), ())
    if mode.startswith("container:"):
        _check_joined(host, config, ports)
        target = mode.removeprefix("container:")
        return NetworkPlan(NamespaceRef(NamespaceMode.CONTAINER, target), (), ())
    requests = _requests(mode, networking, host, config.mac_address, network_id)
    return NetworkPlan(NamespaceRef(), requests, ports)


def network_mode(host: Fields) -> str:
    """``NetworkMode`` with its default."""
    mode = host.text("NetworkMode")
    return DEFAULT_NETWORK if mode in ("", "default") else mode


def _requests(
    mode: str, networking: Fields, host: Fields, mac: str, network_id: Callable[[str], str]
) -> tuple[NetworkRequest, ...]:
    """The network of the mode first: it gives the default route and the ports."""
    requests = {mode: NetworkRequest(mode)}
    for name, endpoint in networking.items("EndpointsConfig"):
        name = DEFAULT_NETWORK if name == "default" else name
        if name in ("host", "none"):
            raise bad_request(
                f"conflicting options: cannot attach to network {name} besides {mode}"
            )
        if network_id(name) == network_id(mode):
            name = mode  # one may be the name and the other the id
        requests[name] = endpoint_request(name, endpoint)
    if links := translate_links(host.strings("Links")):
        requests[mode] = replace(requests[mode], links=(*requests[mode].links, *links))
    if mac:
        first = requests[mode]
        if first.mac and first.mac != normal_mac(mac):
            raise bad_request(
                "the container-wide MAC address must match the endpoint-specific MAC address "
                "for the main network, or be left empty"
            )
        requests[mode] = replace(first, mac=normal_mac(mac))
    return tuple(requests.values())


def endpoint_request(network: str, endpoint: Fields) -> NetworkRequest:
    """One EndpointSettings as a client may send it (here and in ``network connect``)."""
    interface, sysctls, foreign = _driver_options(endpoint)
    ipam = endpoint.sub("IPAMConfig")
    mac = endpoint.text("MacAddress")
    return NetworkRequest(
        network,
        aliases=endpoint.strings("Aliases"),
        address=_address(ipam.text("IPv4Address"), 4),
        address6=_address(ipam.text("IPv6Address"), 6),
        mac=normal_mac(mac) if mac else "",
        links=translate_links(endpoint.strings("Links")),
        priority=endpoint.integer("GwPriority"),
        interface=interface,
        sysctls=sysctls,
        foreign_options=foreign,
        link_local=tuple(_link_local(text) for text in ipam.strings("LinkLocalIPs")),
    )


def _driver_options(
    endpoint: Fields,
) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The interface's name, its sysctls, and options of other vendors, which dockerd's drivers do not read either."""
    interface = ""
    sysctls: tuple[str, ...] = ()
    foreign = []
    for option, value in endpoint.mapping("DriverOpts").items():
        if option == _IFNAME:
            if not 0 < len(value) <= _IFNAME_MAX or re.search(r"[\s/:]", value) or value == "lo":
                raise bad_request(f"invalid interface name: {value}")
            interface = value
        elif option == _SYSCTLS:
            # The CLI writes all of it in small letters.
            given = filter(None, value.split(","))
            sysctls = tuple(text.replace(".ifname.", ".IFNAME.") for text in given)
            for sysctl in sysctls:
                if not _SYSCTL.fullmatch(sysctl):
                    raise bad_request(f"invalid endpoint sysctl: {sysctl}")
        elif option.startswith(_OURS):
            raise not_implemented(f"the endpoint option {option}")
        else:
            foreign.append((option, value))
    return interface, sysctls, tuple(foreign)


def driver_options(request: NetworkRequest) -> dict[str, str] | None:
    """As they were asked for."""
    ours = {_IFNAME: request.interface, _SYSCTLS: ",".join(request.sysctls)}
    asked = {option: value for option, value in ours.items() if value}
    return asked | dict(request.foreign_options) or None


def translate_links(links: Sequence[str]) -> tuple[str, ...]:
    """``container[:alias]`` each, the alias being the container's own word when there is none."""
    translated = []
    for link in links:
        target, separator, alias = link.partition(":")
        target = target.removeprefix("/")
        # Inspection shows legacy links as /target:/container/alias, which clients send back.
        alias = alias.rpartition("/")[2] if separator else target
        if not target or not alias:
            raise bad_request(f"bad format for links: {link}")
        translated.append(f"{target}:{alias}")
    return tuple(translated)


def normal_mac(text: str) -> str:
    """Lower case with colons. Raises Refusal."""
    if not _MAC.fullmatch(text):
        raise bad_request(f"invalid MAC address: {text}")
    return text.lower().replace("-", ":")


def _address(text: str, version: int) -> str:
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise bad_request(f"invalid IPv{version} address: {text}") from error
    if address.version != version:
        raise bad_request(f"invalid IPv{version} address: {text}")
    return str(address)


def _link_local(text: str) -> str:
    """dockerd takes any address here, and so do its clients."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise bad_request(f"invalid link-local IP address: {text}") from error
    if address.is_unspecified:
        raise bad_request(f"invalid link-local IP address: {text}")
    return str(address)


def _check_joined(host: Fields, config: ContainerConfig, ports: tuple[PortMapping, ...]) -> None:
    """What makes no sense in another container's network."""
    wanted = (
        (config.hostname, "hostname"),
        (config.mac_address, "mac-address"),
        (host.strings("Dns"), "dns"),
        (host.strings("ExtraHosts"), "custom host-to-IP mapping"),
        (ports or host.boolean("PublishAllPorts"), "port publishing"),
        (config.exposed_ports, "port exposing"),
    )
    for value, name in wanted[:-1]:
        if value:
            raise bad_request(f"conflicting options: {name} and the container type network mode")


# ---------------------------------------------------------------- ports


def parse_port(text: str) -> tuple[int, str]:
    """``80/tcp`` or ``80``. Raises Refusal."""
    number, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    if not (port := parse_digits(number, MAX_PORT)):
        raise bad_request(f'invalid port specification: "{text}"')
    if protocol not in _PROTOCOLS:
        raise bad_request(f"invalid proto: {protocol}")
    return port, protocol


def exposed_port(text: str) -> tuple[int, str] | None:
    """The same of what an image or a client says to be exposed, which nobody checks: ``None`` for what is no port."""
    try:
        return parse_port(text)
    except Refusal:
        return None


def translate_ports(host: Fields, config: ContainerConfig) -> tuple[PortMapping, ...]:
    """``PortBindings``, and with ``PublishAllPorts`` every other exposed port. Host port 0: any free one."""
    mappings: list[PortMapping] = []
    bound: set[tuple[int, str]] = set()
    for key, bindings in host.lists("PortBindings"):
        port, protocol = parse_port(key)
        bound.add((port, protocol))
        mappings += (_binding(port, protocol, binding) for binding in bindings or [Fields({})])
    if host.boolean("PublishAllPorts"):
        for text in config.exposed_ports:
            port, protocol = parse_port(text)
            if (port, protocol) not in bound:
                mappings.append(PortMapping(protocol, port, 0))
    return tuple(mappings)


def _binding(port: int, protocol: str, binding: Fields) -> PortMapping:
    text, address = binding.text("HostPort"), binding.text("HostIp")
    first, dash, last = text.partition("-")
    low, high = parse_digits(first or "0", MAX_PORT), parse_digits(last if dash else "0", MAX_PORT)
    if low is None or high is None:
        raise bad_request(f'invalid port specification: "{text}"')
    if dash and not 0 < low <= high:
        raise bad_request(f"invalid range specified for port: {text}")
    if address:
        try:
            address = str(ipaddress.ip_address(address.strip("[]")))
        except ValueError as error:
            raise bad_request(f"invalid IP address: {address}") from error
    return PortMapping(protocol, port, low, address, high)


# ---------------------------------------------------------------- names


def translate_dns(host: Fields) -> DnsConfig:
    """``Dns``, ``DnsSearch`` and ``DnsOptions``."""
    for server in host.strings("Dns"):
        try:
            ipaddress.ip_address(server)
        except ValueError as error:
            raise bad_request(f"bad DNS server: {server} is not an IP address") from error
    return DnsConfig(host.strings("Dns"), host.strings("DnsSearch"), host.strings("DnsOptions"))


def translate_extra_hosts(host: Fields, gateway: Callable[[], str]) -> tuple[str, ...]:
    """``name:address`` lines; the address ``host-gateway`` stands for the host as seen from ``bridge``."""
    lines = []
    for text in host.strings("ExtraHosts"):
        name, separator, address = text.partition(":")
        if not separator:
            name, separator, address = text.partition("=")
        if not name or not address:
            raise bad_request(f'bad format for add-host: "{text}"')
        if address == "host-gateway":
            address = gateway()
        address = address.strip("[]")
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise bad_request(f'invalid IP address in add-host: "{address}"') from error
        lines.append(f"{name}:{address}")
    return tuple(lines)
