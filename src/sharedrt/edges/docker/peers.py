"""Who may use a Docker door: root, and the members of its group."""

import os
from pathlib import Path
from typing import Final

from sharedrt.edges.docker.gate import Peer, PeerCheck

_PROC: Final = Path("/proc")


def members_of(group: int | None, proc: Path = _PROC) -> PeerCheck:
    """A check for :func:`sharedrt.edges.docker.serve.serve`.

    The socket's mode has let the peer connect; this looks at who it is, so that a socket passed on to another
    user, or one whose mode was changed, gives nobody else rights.

    Args:
        group: numeric group whose members may; ``None``: root alone.
        proc: where the kernel tells of processes.
    """

    def check(peer: Peer) -> bool:
        if peer.uid in (0, os.geteuid()):
            return True
        return group is not None and (peer.gid == group or group in _groups(proc, peer.pid))

    return check


def _groups(proc: Path, pid: int) -> frozenset[int]:
    """Supplementary groups of a process; none when it is gone."""
    try:
        text = (proc / str(pid) / "status").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith("Groups:"):
            return frozenset(map(int, line.split()[1:]))
    return frozenset()
