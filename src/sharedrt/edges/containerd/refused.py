"""Services of containerd that this daemon does not have. They are registered so that each method is refused by
name: grpclib's answer for an unknown service has no gRPC status that clients could read."""

from sharedrt.edges.containerd.call import Service
from sharedrt.pb.containerd.services.diff.v1 import DiffBase
from sharedrt.pb.containerd.services.mounts.v1 import MountsBase
from sharedrt.pb.containerd.services.sandbox.v1 import ControllerBase, StoreBase
from sharedrt.pb.containerd.services.streaming.v1 import StreamingBase
from sharedrt.pb.containerd.services.transfer.v1 import TransferBase


class DiffService(Service, DiffBase):
    """Layers are unpacked when an image is registered (see images.py)."""


class MountsService(Service, MountsBase):
    """Mounts are the daemon's own."""


class SandboxStoreService(Service, StoreBase):
    """Pods are made through CRI."""


class SandboxControllerService(Service, ControllerBase):
    """Pods are run through CRI."""


class StreamingService(Service, StreamingBase):
    """Carries the data of Transfer."""


class TransferService(Service, TransferBase):
    """Images are pulled by the client, or by the other doors."""
