"""sharedrt: one container runtime daemon per node, shared by a kubelet and Docker clients."""

__version__ = "0.1.0"
