"""stub until images land"""

from sharedrt.edges.containerd.call import NamespacedCalls, Service
from sharedrt.pb.containerd.services.snapshots import v1 as pb


class SnapshotsService(NamespacedCalls, Service, pb.SnapshotsBase):
    pass
