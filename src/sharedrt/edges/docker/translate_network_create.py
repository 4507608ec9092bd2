"""The body of ``POST /networks/create``."""

import ipaddress
from dataclasses import dataclass, field, replace
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.words import Refusal, bad_request, not_implemented
from sharedrt.services.networks import NewNetwork

_DRIVERS: Final = ("bridge", "macvlan", "ipvlan")
_SINGLE: Final = ("host", "null")
"""Of these there is one each, made by the daemon."""


@dataclass(slots=True)
class _Pools:
    """IPAM.Config, by column."""

    subnets: list[str] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    reserved: dict[str, str] = field(default_factory=dict)


def translate_network(body: Fields) -> NewNetwork:
    """Raises Refusal for what is malformed, or not done here, by name."""
    name = body.text("Name")
    if not name.strip():
        raise bad_request("invalid network name: name is empty")
    if body.boolean("ConfigOnly"):
        return _translate_configuration(body)
    if body.boolean("Ingress"):
        raise not_implemented("Ingress of a network")
    if body.text("Scope") not in ("", "local"):
        raise not_implemented(f"a network of scope {body.text('Scope')}")
    driver = body.text("Driver") or "bridge"
    if driver in _SINGLE:
        raise Refusal(403, f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise not_implemented(f"a network of the driver {driver}")
    if driver not in _DRIVERS:
        raise bad_request(f"could not find plugin {driver} in v1 plugin registry: plugin not found")
    configuration = body.sub("ConfigFrom").text("Network")
    if configuration:
        _check_configured(body)
    return replace(_translate(body), driver=driver, config_from=configuration)


def _translate_configuration(body: Fields) -> NewNetwork:
    if any(map(body.boolean, ("Ingress", "Internal", "Attachable"))) or body.text("Scope"):
        raise Refusal(
            403,
            "configuration network can only contain network specific fields. Network operator fields like "
            "[ ingress | internal | attachable | scope ] are not supported.",
        )
    if body.sub("ConfigFrom").text("Network"):
        raise Refusal(403, "a configuration network cannot depend on another configuration network")
    return replace(_translate(body), config_only=True)


def _check_configured(body: Fields) -> None:
    """All of it comes from the configuration."""
    ipam = body.sub("IPAM")
    if (
        ipam.text("Driver") not in ("", "default")
        or ipam.mapping("Options")
        or ipam.objects("Config")
        or body.optional_boolean("EnableIPv4") is False
        or body.boolean("EnableIPv6")
        or body.mapping("Labels")
    ):
        raise Refusal(
            403,
            "user specified configurations are not supported if the network depends on a configuration network",
        )
    if body.mapping("Options"):
        raise Refusal(
            403,
            "network driver options are not supported if the network depends on a configuration network",
        )


def _translate(body: Fields) -> NewNetwork:
    """What networks and configurations have in common."""
    ipam = body.sub("IPAM")
    pools = _translate_ipam(ipam)
    has_ipv6 = any(":" in subnet for subnet in pools.subnets)
    if has_ipv6 and body.optional_boolean("EnableIPv6") is False:
        raise bad_request("invalid network config: an IPv6 subnet, but IPv6 is not enabled")
    ipv4 = body.optional_boolean("EnableIPv4") is not False
    if not ipv4 and any(":" not in subnet for subnet in pools.subnets):
        raise bad_request("invalid network config: an IPv4 subnet, but IPv4 is not enabled")
    if not ipv4 and not body.boolean("EnableIPv6"):
        raise bad_request("IPv4 or IPv6 must be enabled")
    return NewNetwork(
        name=body.text("Name"),
        subnets=tuple(pools.subnets),
        gateways=tuple(pools.gateways),
        ranges=tuple(pools.ranges),
        reserved=pools.reserved,
        ipv4=ipv4,
        ipv6=body.boolean("EnableIPv6"),
        internal=body.boolean("Internal"),
        attachable=body.boolean("Attachable"),
        options=body.mapping("Options"),
        ipam_options=ipam.mapping("Options") if ipam.raw.get("Options") is not None else None,
        labels=body.mapping("Labels"),
    )


def _translate_ipam(ipam: Fields) -> _Pools:
    if ipam.text("Driver") not in ("", "default"):
        raise not_implemented(f"the IPAM driver {ipam.text('Driver')}")
    pools = _Pools()
    for pool in ipam.objects("Config"):
        subnet = pool.text("Subnet")
        if not subnet:
            if any(pool.raw.values()):
                raise bad_request("invalid network config:\ninvalid subnet : no subnet given")
            continue
        network = _network("subnet", subnet)
        pools.subnets.append(str(network))
        pools.gateways.append(_inside("gateway", pool.text("Gateway"), network))
        pools.ranges.append(_range(pool.text("IPRange"), network))
        for name, address in pool.mapping("AuxiliaryAddresses").items():
            pools.reserved[name] = _inside("auxiliary address", address, network)
    return pools


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(kind: str, text: str) -> _Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise bad_request(f"invalid network config:\ninvalid {kind} {text}: {error}") from error
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise bad_request(f"invalid network config:\ninvalid {kind} {text}: it should be {network}")
    return network


def _inside(kind: str, text: str, network: _Network) -> str:
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise bad_request(f"invalid network config:\ninvalid {kind} {text}: {error}") from error
    if address not in network:
        raise bad_request(
            f"invalid network config:\ninvalid {kind} {text}: parent subnet is {network}"
        )
    return str(address)


def _range(text: str, network: _Network) -> str:
    if not text:
        return ""
    # Docker's clients may give any address of the range with its length.
    try:
        found = ipaddress.ip_interface(text).network
    except ValueError as error:
        raise bad_request(f"invalid network config:\ninvalid ip-range {text}: {error}") from error
    same = found.version == network.version and found.prefixlen >= network.prefixlen
    if not same or found.network_address not in network:
        raise bad_request(
            f"invalid network config:\ninvalid ip-range {text}: not within subnet {network}"
        )
    return str(found)
