"""What a container's making leaves behind when it is cut short: by kill -9, a full disk, a cancellation. Blocking."""

import json
import os
import time
from pathlib import Path
from typing import Final

from sharedrt.drivers.oci.context import Context
from sharedrt.drivers.oci.procs import alive, identify, kill_process
from sharedrt.drivers.oci.state import BundleState
from sharedrt.model.drivers import ProcessIdentity
from sharedrt.model.ids import ContainerKey

_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.002


def guess_state(context: Context, key: ContainerKey) -> BundleState | None:
    """The state of a bundle whose state file is missing or broken, from config.json and the runtimes' traces."""
    bundle = context.layout.bundle(key)
    try:
        config = json.loads((bundle / "config.json").read_text())
        cgroup = config["linux"]["cgroupsPath"]
        rootfs = config["root"]["path"]
    except (OSError, ValueError, KeyError, TypeError):
        cgroup, rootfs = "", ""
    for handler in context.handlers.usable.values():
        root = context.layout.runtime_root(handler.name, key)
        if (root / key.id).exists():
            path = "" if context.systemd else str(cgroup)
            return BundleState(handler.name, handler.path, str(root), path, str(rootfs))
    return None


def kill_makers(bundle: Path) -> None:
    """SIGKILL conmon and the runtime that work on this bundle, known by their arguments, until none is left.

    Killing conmon kills the runtime below it (PR_SET_PDEATHSIG), and a process that may fork meanwhile is found
    in the next round. One that is about to end has no arguments any more, but is in its cgroup still.
    """
    deadline = time.monotonic() + _PATIENCE_S
    killed: set[ProcessIdentity] = set()
    while True:
        makers = {found for pid in _pids() if (found := _maker(pid, bundle)) is not None}
        killed |= makers
        if not any(alive(maker) for maker in killed):
            return
        for maker in makers:
            kill_process(maker)
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE_S)


def any_with_argument(word: bytes) -> bool:
    """Whether a process has this among its arguments."""
    return any(word in _arguments(pid) for pid in _pids())


def _arguments(pid: int) -> list[bytes]:
    """None once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _maker(pid: int, bundle: Path) -> ProcessIdentity | None:
    arguments = _arguments(pid)
    name = os.fsencode(bundle)
    # '--bundle PATH' of conmon and of the runtime, or a process that the runtime has forked
    return identify(pid) if name in arguments and b"-e" not in arguments else None
