"""What the driver must know of a container after a restart of the daemon: one JSON file in its bundle."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from sharedrt.model.drivers import ProcessIdentity

_FILE: Final = "sharedrt.json"


@dataclass(frozen=True, slots=True)
class BundleState:
    """Facts of one run. ``pid`` 0: the runtime has not created the process yet."""

    handler: str
    runtime: str
    runtime_root: str
    cgroup: str
    rootfs: str
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    log_path: str = ""
    pid: int = 0
    start_ticks: int = 0
    conmon_pid: int = 0
    conmon_ticks: int = 0
    started: bool = False
    paused: bool = False
    hugepages: Mapping[str, int] = field(default_factory=dict)
    """Limits that were changed since it was made: the runtime knows the old ones."""

    @property
    def process(self) -> ProcessIdentity:
        return ProcessIdentity(self.pid, self.start_ticks)

    @property
    def conmon(self) -> ProcessIdentity:
        return ProcessIdentity(self.conmon_pid, self.conmon_ticks)

    def save(self, bundle: Path) -> None:
        """Write by rename, so that a crash leaves the old or the new one. A small write into a tmpfs."""
        temporary = bundle / f"{_FILE}.new"
        temporary.write_text(json.dumps(asdict(self)))
        os.replace(temporary, bundle / _FILE)


def load_state(bundle: Path) -> BundleState | None:
    """The state of a bundle, or ``None`` when there is no (readable) one."""
    try:
        fields: dict[str, Any] = json.loads((bundle / _FILE).read_text())
        return BundleState(**fields)
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def load_spec(bundle: Path) -> dict[str, Any]:
    """The bundle's config.json. Raises FileNotFoundError."""
    spec: dict[str, Any] = json.loads((bundle / "config.json").read_text())
    return spec


def load_process(bundle: Path) -> dict[str, Any]:
    """``process`` of it, on which execs build. Raises FileNotFoundError."""
    process: dict[str, Any] = load_spec(bundle)["process"]
    return process
