"""Empty cgroups that stand for pods without a process of their own. Blocking.

cAdvisor, a kubelet's own collector of figures, knows a pod by a cgroup whose name ends in the sandbox's id, and reads
the network's figures of the process that containerd's API names for that id. One hierarchy is enough for it; CRI-O
makes such cgroups in all of them.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.drivers.cgroups.reader import read_text

_V1_CHOICE: Final = ("pids", "cpu", "cpuacct", "memory", "blkio")
"""Hierarchies that cAdvisor watches, the one whose cgroups cost the kernel the least first."""
_ATTRIBUTE: Final = "trusted.sharedrt.for"


def make(hierarchies: Hierarchies, parent: str, name: str, shown: str) -> bool:
    """Make it anew, so that whoever watches sees a new one; False when the parent is not there: it is somebody
    else's to make. Raises OSError.

    Args:
        shown: what it stands for, kept with it as an extended attribute.
    """
    remove(hierarchies, parent, name)
    for root in _roots(hierarchies):
        folder = f"{root}{parent.rstrip('/')}/{name}"
        try:
            os.mkdir(folder, 0o755)
        except FileNotFoundError:
            continue
        os.setxattr(folder, _ATTRIBUTE, shown.encode())
        return True
    return False


def look(hierarchies: Hierarchies, parent: str, name: str) -> str:
    """What it stands for; empty: nothing, or there is none."""
    for root in _roots(hierarchies):
        try:
            return os.getxattr(f"{root}{parent.rstrip('/')}/{name}", _ATTRIBUTE).decode()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODATA):
                raise
    return ""


def remove(hierarchies: Hierarchies, parent: str, name: str) -> None:
    """Idempotent; one that has processes is none of ours, and stays. Raises OSError."""
    for root in _roots(hierarchies):
        folder = Path(f"{root}{parent.rstrip('/')}/{name}")
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            if not read_text(folder / "cgroup.procs").strip():
                raise


def _roots(hierarchies: Hierarchies) -> Iterator[Path]:
    if hierarchies.version == 2:
        assert hierarchies.unified is not None
        yield hierarchies.unified
        return
    for controller in _V1_CHOICE:
        if controller in hierarchies.v1:
            yield hierarchies.v1[controller]
