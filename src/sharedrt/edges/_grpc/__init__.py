"""gRPC as the CRI and the containerd door share it: a server on a unix socket, and one place where calls
are logged, bounded and their faults mapped to statuses. Knows no service."""

from sharedrt.edges._grpc.calls import Describe
from sharedrt.edges._grpc.server import GrpcServer

__all__ = ["Describe", "GrpcServer"]
