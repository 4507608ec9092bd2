"""Making, filling, emptying and removing cgroups by plain file operations (the cgroupfs driver). Blocking."""

import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.drivers.cgroups.reader import read_text, write_text

_REMOVE_PATIENCE_S: Final = 2.0
_KILL_PATIENCE_S: Final = 10.0


def ensure(hierarchies: Hierarchies, path: str, *, for_processes: bool = False) -> None:
    """Make the cgroup in every hierarchy, ready for children with limits. Idempotent. Raises OSError.

    v2: every controller of each level is handed down, up to the cgroup itself's children. One ``for_processes`` hands
    nothing down: a v2 cgroup has either processes or children with controllers.
    v1: a new cpuset is given its parent's CPUs and memory nodes, since no process can enter an empty one.
    """
    parts = [p for p in path.split("/") if p]
    for root in hierarchies.roots():
        folder = root
        if hierarchies.version == 2:
            _hand_down(folder)
        for depth, part in enumerate(parts, start=1):
            folder = folder / part
            _make(folder)
            if hierarchies.version == 2:
                if for_processes and depth == len(parts):
                    _keep_all(folder)
                else:
                    _hand_down(folder)
            elif root == hierarchies.v1.get("cpuset"):
                _fill_cpuset(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o755)
    except FileExistsError:
        return


def _hand_down(folder: Path) -> None:
    on = set(read_text(folder / "cgroup.subtree_control").split())
    for controller in read_text(folder / "cgroup.controllers").split():
        if controller in on:
            continue
        try:
            write_text(folder / "cgroup.subtree_control", f"+{controller}")
        except OSError as e:
            # EBUSY: processes live in this very cgroup; EINVAL, ENOTSUP: a threaded subtree.
            # Its children then do without that controller, and a limit that needs it fails by name.
            if e.errno not in (errno.EBUSY, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
                raise


def _keep_all(folder: Path) -> None:
    """What was handed down is taken back."""
    control = folder / "cgroup.subtree_control"
    if on := read_text(control).split():
        write_text(control, " ".join(f"-{controller}" for controller in on))


def _fill_cpuset(folder: Path) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not read_text(folder / name).strip():
            write_text(folder / name, read_text(folder.parent / name).strip())


def limited(hierarchies: Hierarchies, path: str) -> str:
    """Where a container's v2 limits are: crun with systemd puts it and them in a cgroup below the scope."""
    below = f"{path}/container"
    return (
        below
        if path.endswith(".scope") and os.path.isdir(f"{hierarchies.unified}{below}")
        else path
    )


def move(hierarchies: Hierarchies, path: str, pid: int) -> None:
    """Put a process into the cgroup, in every hierarchy. Raises OSError (ESRCH: it has ended)."""
    for root in hierarchies.roots():
        write_text(Path(f"{root}{path}/cgroup.procs"), str(pid))


def pids(hierarchies: Hierarchies, path: str) -> list[int]:
    """All processes of the cgroup and of those below it; empty when it is not there."""
    found: dict[int, None] = {}
    for folder in _subtree(_process_root(hierarchies) / path.lstrip("/")):
        for word in read_text(folder / "cgroup.procs").split():
            found[int(word)] = None
    found.pop(0, None)  # a process outside our pid namespace
    return list(found)


def _process_root(hierarchies: Hierarchies) -> Path:
    if hierarchies.version == 2:
        assert hierarchies.unified is not None
        return hierarchies.unified
    for controller in ("pids", "memory", "devices", "freezer", "cpu"):
        if controller in hierarchies.v1:
            return hierarchies.v1[controller]
    return next(iter(hierarchies.v1.values()))


def _subtree(folder: Path) -> Iterator[Path]:
    """The folder and all below it, deepest last; nothing when it is not there."""
    try:
        with os.scandir(folder) as entries:
            children = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return
    yield folder
    for child in children:
        yield from _subtree(Path(child))


def kill(hierarchies: Hierarchies, path: str) -> bool:
    """SIGKILL every process of the subtree until none is left; False when some outlive the patience of 10 s."""
    deadline = time.monotonic() + _KILL_PATIENCE_S
    pause = 0.001
    while left := pids(hierarchies, path):
        if not _kill_v2(hierarchies, path):
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
    return True


def _kill_v2(hierarchies: Hierarchies, path: str) -> bool:
    """cgroup.kill (Linux 5.14) takes the whole subtree at once, fork bombs too."""
    if hierarchies.version != 2:
        return False
    try:
        write_text(Path(f"{hierarchies.unified}{path}/cgroup.kill"), "1")
    except OSError:
        return False
    return True


def remove(hierarchies: Hierarchies, path: str) -> bool:
    """Remove the cgroup and all below it in every hierarchy; False when processes hold one. Idempotent."""
    if not path.strip("/"):
        return False
    deadline = time.monotonic() + _REMOVE_PATIENCE_S
    gone = True
    for root in hierarchies.roots():
        gone = _remove_tree(Path(f"{root}{path}"), deadline) and gone
    return gone


def _remove_tree(folder: Path, deadline: float) -> bool:
    for each in reversed(list(_subtree(folder))):
        while True:
            try:
                each.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError as e:
                # the kernel lets go of a dead process's cgroup a moment after the process is gone
                if e.errno != errno.EBUSY or read_text(each / "cgroup.procs").strip():
                    return False
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.005)
    return True
