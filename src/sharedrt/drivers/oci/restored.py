"""The cgroup of a container that is restored, on cgroup v2.

runc makes it, with its limits and device rules, around CRIU. CRIU then puts what it restores where that was when it
was dumped, into another container's cgroup or into a bare one of that name, and ends; systemd removes the empty new
one. So a process that only sleeps holds it until the restored processes have been moved into it. The memory that they
have by then stays charged to the cgroups above: v2 moves no charges.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from sharedrt.aio.tasks import TaskOwner
from sharedrt.drivers.children import Child
from sharedrt.drivers.oci.handlers import require_program
from sharedrt.drivers.oci.ports import Cgroups
from sharedrt.drivers.oci.procs import start_ticks
from sharedrt.model.faults import Fault

_PAUSE_S: Final = 0.002
_SPARE_S: Final = 10


@contextlib.asynccontextmanager
async def held(cgroups: Cgroups, path: str, timeout_s: float) -> AsyncIterator[None]:
    """Keep the cgroup while the block runs, which takes ``timeout_s`` at most, from when somebody makes it."""
    # A daemon that is killed meanwhile leaves it: not for ever.
    sleeper = await Child.start([require_program("sleep"), str(timeout_s + _SPARE_S)])
    owner = TaskOwner("restore")
    try:
        owner.spawn(_enter(cgroups, path, sleeper.pid), f"hold {path}")
        yield
    finally:
        await owner.aclose()
        sleeper.kill()
        await sleeper.wait()


async def _enter(cgroups: Cgroups, path: str, pid: int) -> None:
    while True:
        try:
            await cgroups.move(path, pid)
        except Fault:
            await asyncio.sleep(_PAUSE_S)  # not there yet
        else:
            return


async def bring_home(cgroups: Cgroups, path: str, pid: int) -> None:
    """Move a restored process and all that descend from it; cgroups that CRIU has made for them go.

    Raises:
        Internal: the cgroup is not there.
    """
    found = await asyncio.to_thread(_cgroup_of, pid)
    while outside := await asyncio.to_thread(_outside, cgroups, path, pid):
        for each in outside:
            try:
                await cgroups.move(path, each)
            except Fault:
                if start_ticks(each) is not None:
                    raise
    root = cgroups.hierarchies.unified
    if found and found != path and root is not None:
        await asyncio.to_thread(_remove_made, root, found, path)


def _outside(cgroups: Cgroups, path: str, pid: int) -> list[int]:
    inside = set(cgroups.pids(path))
    return [each for each in _tree(pid) if each not in inside]


def _tree(pid: int) -> list[int]:
    """The process and its descendants."""
    found, new = [], [pid] if start_ticks(pid) is not None else []
    while new:
        found += new
        new = [child for each in new for child in _children(each)]
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            found += map(int, file.read_text().split())
    return found


def _cgroup_of(pid: int) -> str:
    """Its v2 cgroup; empty when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def _remove_made(root: Path, found: str, home: str) -> None:
    """Those of ``found`` and the ones above it that are younger than ``home`` and empty: a cgroup's inode number is
    its id, and ids grow."""
    folder = Path(f"{root}{found}")
    with contextlib.suppress(OSError):  # gone, or in use
        oldest = os.stat(f"{root}{home}").st_ino
        while folder != root and folder.stat().st_ino > oldest:
            folder.rmdir()
            folder = folder.parent
