"""Hybrid cgroup hosts for the time of a test session.

crun cannot run on a v1 host while some controller is not mounted as v1. Mounting it cures that, as ``sharedrt check``
tells an administrator; here it is done for the session and undone after it.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sharedrt.drivers.cgroups.mountinfo import read_hierarchies

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def cured() -> Iterator[None]:
    """Mount what is left over as v1 while the block runs."""
    mounted = []
    for controller in read_hierarchies().left_over:
        target = _ROOT / controller
        target.mkdir(exist_ok=True)
        command = ["mount", "-t", "cgroup", "-o", controller, "cgroup", str(target)]
        subprocess.run(command, check=True)
        mounted.append(target)
    try:
        yield
    finally:
        for target in mounted:
            # Busy while it is used: then it stays, which harms nobody.
            subprocess.run(["umount", str(target)], check=False, capture_output=True)
