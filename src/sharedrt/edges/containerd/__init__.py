"""The containerd door: containerd's gRPC services over this daemon's, for ``ctr`` and for scripts.

The namespace comes from each call's ``containerd-namespace`` metadata key. What is made through other doors is
shown here as containerd would show it; what containerd lets its clients make and we do not (containers, tasks,
active snapshots) is refused by name.

No SQL, no processes, no policy: each method is parse, one service call, render.
"""

from sharedrt.edges.containerd.door import ContainerdDoor

__all__ = ["ContainerdDoor"]
