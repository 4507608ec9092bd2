"""Hybrid cgroup hosts for the time of test sessions.

crun cannot run on a v1 host while some controller is not mounted as v1. Mounting it cures that, as ``sharedrt check``
tells an administrator; here it is done for the session and undone after it, or after the last one of several.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sharedrt.drivers.cgroups.mountinfo import read_hierarchies

_ROOT = Path("/sys/fs/cgroup")
_SESSIONS = Path("/run/sharedrt-tests.sessions")
"""Locked, shared, by each session; has what they mounted."""
_TURN = Path("/run/sharedrt-tests.turn")
"""Locked by the one that mounts or unmounts."""


@contextmanager
def cured() -> Iterator[None]:
    """Mount what is left over as v1 while the block runs."""
    if os.geteuid() != 0:
        yield
        return
    with _SESSIONS.open("a+") as sessions:
        with _turn():
            for controller in read_hierarchies().left_over:
                target = _ROOT / controller
                target.mkdir(exist_ok=True)
                command = ["mount", "-t", "cgroup", "-o", controller, "cgroup", str(target)]
                subprocess.run(command, check=True)
                print(target, file=sessions, flush=True)
            fcntl.flock(sessions, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with _turn(), suppress(BlockingIOError):  # another session still needs it
                fcntl.flock(sessions, fcntl.LOCK_EX | fcntl.LOCK_NB)
                sessions.seek(0)
                for mounted in sessions.read().split():
                    # Busy while it is used: then it stays, which harms nobody.
                    subprocess.run(["umount", mounted], check=False, capture_output=True)
                sessions.truncate(0)


@contextmanager
def _turn() -> Iterator[None]:
    with _TURN.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
