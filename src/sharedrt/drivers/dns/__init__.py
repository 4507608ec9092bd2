"""Name servers on the gateways of networks, and asking the host's resolvers for what is not ours.

Mechanism alone: who may know which name is decided by the services.
"""

from sharedrt.drivers.dns.server import HostNameServers

__all__ = ["HostNameServers"]
