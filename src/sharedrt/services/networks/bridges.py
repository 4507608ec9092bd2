"""Bridge networks: what a client asks for, as a record, and a record as the host's bridge."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from sharedrt.model.drivers import BridgeConfig
from sharedrt.model.faults import InvalidArgument, Unimplemented
from sharedrt.model.ids import Namespace, NetworkId, new_id
from sharedrt.model.records import Json, NetworkRecord
from sharedrt.services.networks.addresses import first_host, unique_local_subnet
from sharedrt.services.networks.stacked import (
    STACKED,
    check_stacked,
    leads_nowhere,
    parent_config,
    parent_name,
)

UNSETTLED: Final = "0.0.0.0/32"
"""Stands for a subnet that is still to be taken from the pools."""

OPTION_NAME: Final = "com.docker.network.bridge.name"
OPTION_MASQUERADE: Final = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_ICC: Final = "com.docker.network.bridge.enable_icc"
OPTION_HOST_IP: Final = "com.docker.network.bridge.host_binding_ipv4"
OPTION_DEFAULT: Final = "com.docker.network.bridge.default_bridge"
OPTION_MTU: Final = "com.docker.network.driver.mtu"
OPTION_INHIBIT: Final = "com.docker.network.bridge.inhibit_ipv4"
OPTION_MODES: Final = {
    4: "com.docker.network.bridge.gateway_mode_ipv4",
    6: "com.docker.network.bridge.gateway_mode_ipv6",
}
OPTION_TRUSTED: Final = "com.docker.network.bridge.trusted_host_interfaces"
"""Separated by colons."""
ISOLATED: Final = "isolated"
UNPROTECTED: Final = "nat-unprotected"
DIRECT: Final = "routed"
_MODES: Final = ("nat", UNPROTECTED, DIRECT, ISOLATED)
"""What the host's bridge is to its containers: their gateway behind its own address, the same with all ports open to
the outside, their gateway under their own addresses, or nothing at all."""
OPTION_ROUTED: Final = "sharedrt.routed"
OPTION_CONFIGURED: Final = "sharedrt.configured"
"""Of the pod network: the subnets that were configured when it was made."""
_OPTIONS: Final = frozenset(
    {
        OPTION_NAME,
        OPTION_MASQUERADE,
        OPTION_ICC,
        OPTION_HOST_IP,
        OPTION_MTU,
        OPTION_INHIBIT,
        OPTION_TRUSTED,
        *OPTION_MODES.values(),
    }
)

_OURS: Final = "com.docker.network."
"""Options that begin so ask for something of the engine itself."""
_INTERFACE_MAX: Final = 15
PREDEFINED: Final = ("bridge", "host", "none")
POD_NETWORK: Final = "pods"
"""The built-in pod network's name."""


@dataclass(frozen=True, slots=True)
class NewNetwork:
    """A network to be created. ``subnets`` in CIDR form, at most one of each family; with ``gateways`` in the
    same order, empty ones chosen. With ``ipv4`` and no IPv4 subnet a free one is taken from the configured pools; with
    ``ipv6`` and no IPv6 subnet a unique local one is made up. ``ranges`` go with the subnets, ``reserved`` are
    Docker's auxiliary addresses, by the client's name for each."""

    name: str
    driver: str = "bridge"
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    reserved: Mapping[str, str] = field(default_factory=dict)
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    ipam_options: Mapping[str, str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    config_only: bool = False
    """See :class:`NetworkRecord`. Options are looked at when a network is made from it."""
    config_from: str = ""
    """Take all but name, driver, ``internal`` and ``attachable`` from the configuration of that name."""
    extensions: Mapping[str, Json] = field(default_factory=dict)


def check_request(request: NewNetwork) -> None:
    """Raises InvalidArgument or Unimplemented, by the field's or option's name."""
    # dockerd takes any text; one that can stand in a path and on a line is enough. Nothing on the host has this name.
    name = request.name
    if not name or name != name.strip() or not name.isprintable() or "/" in name:
        why = "no slashes, control characters or blanks at its ends"
        raise InvalidArgument("network name", name, why)
    for option in request.ipam_options or ():
        if option.startswith(_OURS):
            raise Unimplemented(f"the IPAM option {option}")
    if request.config_only:
        pass
    elif request.driver in STACKED:
        check_stacked(request.driver, request.options)
    elif request.driver == "bridge":
        _check_bridge_options(request.options, internal=request.internal)
    else:
        raise Unimplemented(f"network driver {request.driver!r}")
    if not request.ipv4 and not request.ipv6:
        raise InvalidArgument("network", request.name, "IPv4 or IPv6 must be enabled")
    versions = [_subnet(subnet).version for subnet in request.subnets]
    if len(versions) != len(set(versions)):
        raise InvalidArgument("subnets", list(request.subnets), "more than one of a family")
    for subnet, gateway in zip(request.subnets, request.gateways, strict=False):
        if gateway and _address(gateway) not in ip_network(subnet):
            raise InvalidArgument("gateway", gateway, f"not in subnet {subnet}")
    for subnet, inner in zip(request.subnets, request.ranges, strict=False):
        if inner and not _inside(_subnet(inner), ip_network(subnet)):
            raise InvalidArgument("address range", inner, f"not in subnet {subnet}")
    for name, address in request.reserved.items():
        if not any(_address(address) in ip_network(subnet) for subnet in request.subnets):
            raise InvalidArgument("auxiliary address", f"{name}={address}", "in no subnet")


def _check_bridge_options(options: Mapping[str, str], *, internal: bool) -> None:
    for option in options:
        if option not in _OPTIONS:
            raise Unimplemented(f"bridge network option {option!r}")
    for option in (OPTION_MASQUERADE, OPTION_ICC, OPTION_INHIBIT):
        _flag(options, option)
    for option in OPTION_MODES.values():
        mode = options.get(option, "nat")
        if mode not in _MODES:
            raise InvalidArgument(f"option {option}", mode, f"not one of {', '.join(_MODES)}")
        if mode == ISOLATED and not internal:
            raise InvalidArgument(
                f"option {option}",
                mode,
                "gateway mode 'isolated' can only be used for an internal network",
            )
    _mtu(options, 1500)
    if host_ip := options.get(OPTION_HOST_IP):
        _address(host_ip)
    for interface in _trusted(options):
        if len(interface) > _INTERFACE_MAX or re.search(r'[\s/"\\]', interface):
            raise InvalidArgument(f"option {OPTION_TRUSTED}", interface, "no interface's name")


def _trusted(options: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, options.get(OPTION_TRUSTED, "").split(":")))


def make_record(request: NewNetwork) -> NetworkRecord:
    """A record of a checked request, its IPv4 subnet unsettled when it names none."""
    gateways = dict(zip(request.subnets, request.gateways, strict=False))
    ranges = dict(zip(request.subnets, request.ranges, strict=False))
    id = NetworkId(new_id())
    subnets = sorted(request.subnets, key=lambda subnet: _subnet(subnet).version)
    if request.config_only:
        return _configuration(id, request, subnets, gateways, ranges)
    if request.ipv4 and (not subnets or _subnet(subnets[0]).version != 4):
        subnets.insert(0, UNSETTLED)
    if request.ipv6 and (not subnets or _subnet(subnets[-1]).version != 6):
        subnets.append(unique_local_subnet(id))
    return NetworkRecord(
        id=id,
        name=request.name,
        driver=request.driver,
        bridge=parent_name(id, request.options)
        if request.driver in STACKED
        else request.options.get(OPTION_NAME) or f"br-{id[:12]}",
        subnets=tuple(subnets),
        gateways=tuple(
            "" if _without_gateway(request, subnet) else gateways.get(subnet) or first_host(subnet)
            for subnet in subnets
        ),
        ranges=tuple(ranges.get(subnet, "") for subnet in subnets) if any(request.ranges) else (),
        reserved=dict(request.reserved),
        internal=request.internal,
        attachable=request.attachable,
        options=dict(request.options),
        ipam_options=request.ipam_options,
        labels=dict(request.labels),
        config_from=request.config_from,
        extensions=dict(request.extensions),
        created_ns=time.time_ns(),
    )


def _configuration(
    id: NetworkId,
    request: NewNetwork,
    subnets: Sequence[str],
    gateways: Mapping[str, str],
    ranges: Mapping[str, str],
) -> NetworkRecord:
    versions = {_subnet(subnet).version for subnet in subnets}
    families = ((4, request.ipv4), (6, request.ipv6 or 6 in versions))
    return NetworkRecord(
        id=id,
        name=request.name,
        driver="none",
        subnets=tuple(subnets),
        gateways=tuple(gateways.get(subnet, "") for subnet in subnets),
        ranges=tuple(ranges.get(subnet, "") for subnet in subnets),
        reserved=dict(request.reserved),
        options=dict(request.options),
        ipam_options=request.ipam_options,
        labels=dict(request.labels),
        config_only=True,
        families=tuple(version for version, wanted in families if wanted),
        extensions=dict(request.extensions),
        created_ns=time.time_ns(),
    )


def configured(request: NewNetwork, configuration: NetworkRecord) -> NewNetwork:
    """What is asked for by naming a configuration."""
    return replace(
        request,
        subnets=configuration.subnets,
        gateways=configuration.gateways,
        ranges=configuration.ranges,
        reserved=configuration.reserved,
        ipv4=4 in configuration.families,
        ipv6=6 in configuration.families,
        options=configuration.options,
        ipam_options=configuration.ipam_options,
        labels=configuration.labels,
    )


def _without_gateway(request: NewNetwork, subnet: str) -> bool:
    """Whether nobody on it needs a gateway, and the host has no address there."""
    if request.driver in STACKED:
        return request.internal or leads_nowhere(request.driver, request.options)
    version = _subnet(subnet).version
    inhibited = version == 4 and request.internal and _is_inhibited(request.options)
    return inhibited or request.options.get(OPTION_MODES[version]) == ISOLATED


def _is_inhibited(options: Mapping[str, str]) -> bool:
    return OPTION_INHIBIT in options and _flag(options, OPTION_INHIBIT)


def with_ipv4_subnet(record: NetworkRecord, subnet: str) -> NetworkRecord:
    """The record with its IPv4 subnet settled, and the gateway that goes with it."""
    return replace(
        record,
        subnets=(subnet, *record.subnets[1:]),
        gateways=(record.gateways[0] and first_host(subnet), *record.gateways[1:]),
    )


def default_bridge(name: str, bridge: str, subnet: str, mtu: int) -> NetworkRecord:
    """Docker's network ``bridge``, with the options that its inspection shows."""
    return NetworkRecord(
        id=NetworkId(new_id()),
        name=name,
        driver="bridge",
        bridge=bridge,
        subnets=(subnet,),
        gateways=(first_host(subnet),),
        options={
            OPTION_DEFAULT: "true",
            OPTION_ICC: "true",
            OPTION_MASQUERADE: "true",
            OPTION_HOST_IP: "0.0.0.0",
            OPTION_NAME: bridge,
            OPTION_MTU: str(mtu),
        },
        created_ns=time.time_ns(),
    )


def pod_bridge(name: str, bridge: str, subnets: Sequence[str], mtu: int) -> NetworkRecord:
    """The built-in pod network: pods can be reached from outside at any port, as Kubernetes expects."""
    return NetworkRecord(
        id=NetworkId(new_id()),
        name=name,
        driver="bridge",
        bridge=bridge,
        subnets=tuple(subnets),
        gateways=tuple(map(first_host, subnets)),
        options={
            OPTION_MTU: str(mtu),
            OPTION_ROUTED: "true",
            OPTION_CONFIGURED: ",".join(subnets),
        },
        created_ns=time.time_ns(),
    )


def is_as_configured(record: NetworkRecord, subnets: Sequence[str]) -> bool:
    """Whether the pod network was made for these, even if another had to be taken then."""
    return record.options.get(OPTION_CONFIGURED, ",".join(record.subnets)) == ",".join(subnets)


def has_names(record: NetworkRecord) -> bool:
    """Whether containers on it find each other by name: on user-defined networks they do."""
    return is_joined(record) and record.name not in (*PREDEFINED, POD_NETWORK)


def is_joined(record: NetworkRecord) -> bool:
    """Whether containers get an interface on it."""
    return record.driver == "bridge" or record.driver in STACKED


def has_way_out(record: NetworkRecord) -> bool:
    """Whether the world can be reached over it."""
    if record.driver in STACKED:
        return not record.internal and not parent_config(record).private
    return record.driver == "bridge" and not record.internal


def publishes(record: NetworkRecord) -> bool:
    """Whether ports of its containers can be published on the host."""
    return record.driver == "bridge" and not record.internal


def families(record: NetworkRecord) -> tuple[int, ...]:
    return tuple(_subnet(subnet).version for subnet in record.subnets)


def direct_families(record: NetworkRecord) -> tuple[int, ...]:
    """Families whose containers are reached at their own addresses."""
    if not publishes(record):
        return ()
    return tuple(v for v in families(record) if record.options.get(OPTION_MODES[v]) == DIRECT)


def opens(record: NetworkRecord) -> bool:
    """Whether the host has interfaces from which its containers' published ports are reached without NAT."""
    return publishes(record) and bool(_trusted(record.options))


def name_server(record: NetworkRecord) -> str:
    """The address at which the host answers its containers; empty: it cannot be reached there over IPv4."""
    for gateway in record.gateways if record.driver == "bridge" else ():
        if "." in gateway and not _is_inhibited(record.options):
            return gateway
    return ""


def bridge_config(
    record: NetworkRecord, namespace: Namespace, mtu: int, near: tuple[str, ...] = ()
) -> BridgeConfig:
    """The host's bridge for a record; ``mtu`` where it has no option of its own, ``near`` its namespace's other
    bridges."""
    addresses = (
        f"{gateway}/{ip_network(subnet).prefixlen}"
        for subnet, gateway in zip(record.subnets, record.gateways, strict=True)
        if gateway and not ("." in gateway and _is_inhibited(record.options))
    )
    unprotected = UNPROTECTED in (record.options.get(mode) for mode in OPTION_MODES.values())
    return BridgeConfig(
        name=record.bridge,
        addresses=tuple(addresses),
        mtu=mtu_of(record, mtu),
        masquerade=_flag(record.options, OPTION_MASQUERADE),
        internal=record.internal,
        inter_container=_flag(record.options, OPTION_ICC),
        isolation_group=namespace,
        routed=unprotected or record.options.get(OPTION_ROUTED) == "true",
        direct=direct_families(record),
        near=near,
        trusted=_trusted(record.options),
    )


def mtu_of(record: NetworkRecord, default: int) -> int:
    return _mtu(record.options, default)


def host_binding(record: NetworkRecord) -> str:
    """Where ports without a host address are published; empty: everywhere."""
    address = record.options.get(OPTION_HOST_IP, "")
    return "" if address in ("0.0.0.0", "") else address


def _flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "true")
    if text.lower() not in ("true", "false", "1", "0"):
        raise InvalidArgument(f"option {name}", text, "neither true nor false")
    return text.lower() in ("true", "1")


def _mtu(options: Mapping[str, str], default: int) -> int:
    text = options.get(OPTION_MTU, "")
    if not text or text == "0":
        return default
    if not text.isdecimal() or not 68 <= int(text) <= 65535:
        raise InvalidArgument(f"option {OPTION_MTU}", text, "not between 68 and 65535")
    return int(text)


def _inside(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    return (
        inner.version == outer.version
        and inner.overlaps(outer)
        and (inner.prefixlen >= outer.prefixlen)
    )


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise InvalidArgument("address", text, "no IP address") from error


def _subnet(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidArgument("subnet", text, str(error)) from error
