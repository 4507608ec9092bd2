"""Execs whose client went with an earlier daemon: a probe, a ``kubectl exec``. Blocking.

Nobody waits for them and no timeout ends them any more. Those that were to live on without a client are left alone.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sharedrt.drivers.oci.bundle import read_pid
from sharedrt.drivers.oci.procs import identify, kill_group, kill_process
from sharedrt.model.drivers import ProcessIdentity

MARK: Final = "with-client"
"""A file in the folder of an exec that shall end with its client."""


def end_lost_execs(execs: Path) -> int:
    """Kill those below this folder that have the mark, and remove what they left; how many there were."""
    lost = [mark.parent for mark in execs.glob(f"*/{MARK}")]
    for folder in lost:
        for conmon in _conmons(folder):
            process = identify(read_pid(folder / "pidfile"))
            # conmon is its subreaper: another parent's process only has the number.
            if process is not None and _parent(process.pid) == conmon.pid:
                kill_group(process)
            kill_process(conmon)
        shutil.rmtree(folder, ignore_errors=True)
    return len(lost)


def _conmons(folder: Path) -> Iterator[ProcessIdentity]:
    """By its argument ``-b FOLDER``."""
    name = os.fsencode(folder)
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            arguments = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if name in arguments and b"-e" in arguments and (found := identify(int(entry))):
            yield found


def _parent(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[1])
