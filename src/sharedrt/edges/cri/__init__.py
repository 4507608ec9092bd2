"""The CRI door: runtime.v1 over gRPC, for a kubelet, crictl and critest. Everything is in namespace ``k8s.io``.

Translates requests to services and records to answers: ``translate_*`` on the way in, ``render_*`` on the way
out, one file for each noun's calls. No policy, no SQL, no processes.
"""

from sharedrt.edges.cri.serve import CriDoor

__all__ = ["CriDoor"]
