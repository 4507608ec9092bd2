"""What an administrator can set about OCI runtimes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sharedrt.drivers.oci.cdi import SPEC_DIRS


@dataclass(frozen=True, slots=True)
class OciSettings:
    """Folders, binaries and defaults. A binary without a slash is looked up in PATH and the sbin folders.

    ``run_dir`` should be a tmpfs: what is in it means nothing after a reboot. ``state_dir`` keeps exit codes.
    ``default_handler`` serves requests that name none; where it cannot run here, another usable one does.
    An empty ``cgroup_parent`` is ``/sharedrt``, or ``sharedrt.slice`` with the systemd driver.
    """

    run_dir: Path
    state_dir: Path
    handlers: Mapping[str, str] = field(default_factory=lambda: {"crun": "crun", "runc": "runc"})
    default_handler: str = "crun"
    cgroup_parent: str = ""
    conmon: str = "conmon"
    catatonit: str = "catatonit"
    criu: str = "criu"
    """Its file must have that name: the runtimes look it up in PATH, where its folder then goes first."""
    cdi_dirs: Sequence[Path] = SPEC_DIRS
    """Of CDI files; a device in a later folder hides one of an earlier."""
    create_timeout_s: float = 120.0
