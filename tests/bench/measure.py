"""What the kernel tells of processes: their memory, how many were started, how often they waited for the disk."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

SYNC_CALLS = "fsync,fdatasync,sync_file_range,syncfs"


def pss_mib(pids: Iterable[int]) -> float:
    """Proportional set size of some processes together, in MiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(text.split("\nPss:")[1].split()[0])
    return total / 1024


def with_descendants(pids: Iterable[int]) -> set[int]:
    """These processes and all below them."""
    parents = _parents()
    found = set(pids)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def _parents() -> dict[int, int]:
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stat = Path("/proc", entry, "stat").read_text()
                found[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    return found


def tasks_started() -> int:
    """Processes and threads that the whole machine has started since it booted."""
    line = next(
        li for li in Path("/proc/stat").read_text().splitlines() if li.startswith("processes ")
    )
    return int(line.split()[1])


class SyncCalls:
    """How often a daemon made the disk write something out; None where strace cannot tell."""

    def __init__(self) -> None:
        self.count: int | None = None


@contextlib.asynccontextmanager
async def counting_syncs(pids: Iterable[int]) -> AsyncIterator[SyncCalls]:
    """Count while the block runs, in these processes and those that they start."""
    counted = SyncCalls()
    if shutil.which("strace") is None:
        yield counted
        return
    command = ["strace", "-f", "-q", "-c", "-e", f"trace={SYNC_CALLS}"]
    for pid in pids:
        command += ["-p", str(pid)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    await asyncio.sleep(1.0)  # until it has attached to all threads
    try:
        yield counted
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    counted.count = calls_in(err.decode())


def calls_in(summary: str) -> int:
    """The calls of all rows of ``strace -c``'s table, which has a column of errors where there were any."""
    names = SYNC_CALLS.replace(",", "|")
    row = rf"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(?:{names})$"
    return sum(map(int, re.findall(row, summary, re.MULTILINE)))
