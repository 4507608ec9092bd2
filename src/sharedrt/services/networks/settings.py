"""What the administrator configures of networks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Names and subnets; two daemons on a host need different ones. Defaults as in ``sharedrt.config``."""

    bridge: str = "sharedrt0"
    """Of the network ``bridge`` of Docker's namespace."""
    subnet: str = "172.29.0.0/16"
    pod_bridge: str = "srpods0"
    """Of the built-in pod network."""
    pod_subnet: str = "10.88.0.0/16"
    pools: tuple[str, ...] = ("172.30.0.0/15", "192.168.192.0/18")
    """Where networks that name no subnet take theirs from."""
    mtu: int = 1500
