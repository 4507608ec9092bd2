"""Networks of a namespace: who is on which, with which addresses and published ports."""

from sharedrt.services.networks.bridges import NewNetwork
from sharedrt.services.networks.names import OwnerNames
from sharedrt.services.networks.service import Networks
from sharedrt.services.networks.settings import NetworkSettings, pod_subnets

__all__ = ["NetworkSettings", "Networks", "NewNetwork", "OwnerNames", "pod_subnets"]
