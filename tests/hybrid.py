"""Hybrid cgroup hosts for the time of a test session.

crun refuses to run while the v2 hierarchy of a hybrid host still holds controllers. Mounting those as v1 cures it,
as ``sharedrt check`` tells an administrator; here it is done for the session and undone after it.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def left_over() -> list[str]:
    """Controllers that a hybrid host's v2 hierarchy holds; empty on a v2 or a plain v1 host."""
    unified = _ROOT / "unified" / "cgroup.controllers"
    return unified.read_text().split() if unified.exists() else []


@contextmanager
def cured() -> Iterator[None]:
    """Mount what is left over as v1 while the block runs."""
    mounted = []
    for controller in left_over():
        target = _ROOT / controller
        target.mkdir(exist_ok=True)
        command = ["mount", "-t", "cgroup", "-o", controller, "cgroup", str(target)]
        subprocess.run(command, check=True)
        mounted.append(target)
    try:
        yield
    finally:
        for target in mounted:
            # Busy while a dying container's cgroup lingers: then it stays, which harms nobody.
            subprocess.run(["umount", str(target)], check=False, capture_output=True)
