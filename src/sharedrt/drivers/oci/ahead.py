"""A runtime that is ahead of the process that it starts.

crun sets the size of an exec's terminal beside a process that it has let go already, and that one read "0 0" in half
of all cases. So crun gets a real-time priority for its short life, which the process does not inherit
(``SCHED_RESET_ON_FORK``, sched(7)): measured, 0 of 80.
"""

import os
import shutil
import threading
from functools import cache
from pathlib import Path
from typing import Final

_PRIORITY: Final = 1


def runtime_ahead(runtime: str) -> list[str]:
    """conmon's options that name the runtime, ahead of its process where that is needed and possible."""
    chrt = _chrt() if Path(runtime).name.startswith("crun") else ""
    if not chrt:
        return ["-r", runtime]
    words = ("-R", "-f", str(_PRIORITY), runtime)
    return ["-r", chrt, *(f"--runtime-arg={word}" for word in words)]


@cache
def _chrt() -> str:
    """chrt(1)'s path; empty without it, or where it may not (no CAP_SYS_NICE, a cgroup v1 without real time)."""
    refused = []

    def attempt() -> None:
        try:
            policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(_PRIORITY))
        except OSError as error:
            refused.append(error)

    thread = threading.Thread(target=attempt)  # its priority ends with it
    thread.start()
    thread.join()
    return "" if refused else shutil.which("chrt") or ""
