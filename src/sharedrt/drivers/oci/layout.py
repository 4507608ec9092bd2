"""Where a container's files are: functions of its key, below the run and state folders."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharedrt.drivers.oci.settings import OciSettings
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace


@dataclass(frozen=True, slots=True)
class Layout:
    """``RUN/bundles/NAMESPACE/ID``, ``STATE/exits/NAMESPACE/ID`` and ``RUN/runtimes/HANDLER/NAMESPACE``."""

    run_dir: Path
    state_dir: Path

    @classmethod
    def of(cls, settings: OciSettings) -> "Layout":
        return cls(settings.run_dir, settings.state_dir)

    def bundle(self, key: ContainerKey) -> Path:
        """config.json, pid files, conmon's attach socket and control fifo."""
        return self.run_dir / "bundles" / key.namespace / key.id

    def exec_dir(self, key: ContainerKey, exec_id: str) -> Path:
        """The same for one exec. Raises InvalidArgument: an id that is no file name."""
        if not exec_id or "/" in exec_id or exec_id in (".", ".."):
            raise InvalidArgument("exec id", exec_id, "must be a plain name")
        return self.bundle(key) / "execs" / exec_id

    def exits(self, key: ContainerKey) -> Path:
        """conmon's exit file, named after the container, and its ``oom`` mark."""
        return self.state_dir / "exits" / key.namespace / key.id

    def exit_file(self, key: ContainerKey) -> Path:
        return self.exits(key) / key.id

    def runtime_root(self, handler: str, key: ContainerKey) -> Path:
        """The OCI runtime's own state; one a namespace, so that ids of two namespaces never meet."""
        return self.runtimes / handler / key.namespace

    @property
    def runtimes(self) -> Path:
        """What the OCI runtimes keep. As XDG_RUNTIME_DIR, it holds the root folder that crun makes unasked."""
        return self.run_dir / "runtimes"

    def keys_on_disk(self) -> Sequence[ContainerKey]:
        """Every container with a bundle or an exit file. Blocking."""
        found = {
            ContainerKey(Namespace(folder.parent.name), ContainerId(folder.name))
            for root in (self.run_dir / "bundles", self.state_dir / "exits")
            for folder in root.glob("*/*")
        }
        return sorted(found)

    def remove(self) -> None:
        """Remove the folders that all containers share. Blocking."""
        for folder in (
            self.run_dir / "bundles",
            self.runtimes,
            self.state_dir / "exits",
        ):
            shutil.rmtree(folder, ignore_errors=True)
