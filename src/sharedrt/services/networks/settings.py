"""What the administrator configures of networks."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from sharedrt.model.faults import InvalidArgument


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Names and subnets; two daemons on a host need different ones. Defaults as in ``sharedrt.config``."""

    bridge: str = "sharedrt0"
    """Of the network ``bridge`` of Docker's namespace."""
    subnet: str = "172.29.0.0/16"
    pod_bridge: str = "srpods0"
    """Of the built-in pod network."""
    pod_subnets: tuple[str, ...] = ("10.88.0.0/16",)
    """At most one of a family; a pod's addresses come in their order."""
    pools: tuple[str, ...] = ("172.30.0.0/15", "192.168.192.0/18")
    """Where networks that name no subnet take theirs from."""
    mtu: int = 1500


def pod_subnets(first: str, second: str) -> tuple[str, ...]:
    """The built-in pod network's, as configured.

    Raises:
        InvalidArgument: not a subnet, or two of one family; names the key.
    """
    one = _subnet("network.pod_subnet", first)
    if not second:
        return (str(one),)
    other = _subnet("network.pod_second_subnet", second)
    if one.version == other.version:
        raise InvalidArgument(
            "configuration key", "network.pod_second_subnet", f"of the same family as {first}"
        )
    return str(one), str(other)


def _subnet(key: str, text: str) -> IPv4Network | IPv6Network:
    try:
        found = ip_network(text)
    except ValueError as error:
        raise InvalidArgument("configuration key", key, str(error)) from error
    if found.num_addresses < 4:
        raise InvalidArgument("configuration key", key, f"{text} has no room for a pod")
    return found
