"""Names on the host: one function each of (namespace, id), so that recovery can derive them again."""

from dataclasses import dataclass
from pathlib import Path

from sharedrt.model.ids import ContainerId, Namespace, SandboxId


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things of one namespace are. ``cgroup_root`` is the configured parent of all.

    Below ``run_dir`` is what a reboot ends (pinned namespaces, generated files, shm), below ``state_dir``
    what outlives it (logs of containers without a client's own path).
    """

    namespace: Namespace
    state_dir: Path
    run_dir: Path
    cgroup_root: str
    systemd_cgroups: bool

    def container_run(self, id: ContainerId) -> Path:
        """Generated /etc files, pinned network namespace."""
        return self.run_dir / "files" / self.namespace / "containers" / id

    def container_state(self, id: ContainerId) -> Path:
        return self.state_dir / "containers" / self.namespace / id

    def container_log(self, id: ContainerId) -> Path:
        return self.container_state(id) / "container.log"

    def sandbox_run(self, id: SandboxId) -> Path:
        return self.run_dir / "files" / self.namespace / "sandboxes" / id

    def active_directory(self, id: ContainerId) -> str:
        """The folder name of a container's writable snapshot."""
        return f"{self.namespace}@{id}"

    def view_directory(self, id: ContainerId, number: int) -> str:
        """The folder name of a read-only snapshot: of the image that a container's mount shows."""
        return f"{self.namespace}@{id}.{number}"

    @property
    def builds_root(self) -> Path:
        """Contexts of builds under way: nothing of it outlives the daemon."""
        return self.state_dir / "builds" / self.namespace

    @property
    def builds_run_root(self) -> Path:
        """Mount points and secrets of RUNs under way, in memory."""
        return self.run_dir / "builds" / self.namespace

    def build_directory(self, name: str) -> str:
        """The folder name of a build's snapshot, which has no row: recovery removes it."""
        return f"{self.namespace}@build-{name}"

    def build_cache(self, id: str) -> Path:
        """What ``RUN --mount=type=cache`` keeps."""
        return self.state_dir / "build-caches" / self.namespace / id

    @property
    def volumes_root(self) -> Path:
        return self.state_dir / "volumes" / self.namespace

    def volume(self, name: str) -> Path:
        return self.volumes_root / name

    @property
    def containers_run_root(self) -> Path:
        return self.run_dir / "files" / self.namespace / "containers"

    @property
    def sandboxes_run_root(self) -> Path:
        return self.run_dir / "files" / self.namespace / "sandboxes"

    @property
    def containers_state_root(self) -> Path:
        return self.state_dir / "containers" / self.namespace

    @property
    def cgroup_parent(self) -> str:
        """Parent of containers that name none: a cgroup of this namespace, where its quota is set."""
        if self.systemd_cgroups:
            # A dash nests slices, so dashes inside a name have to go.
            root, name = self.cgroup_root.replace("-", "_"), self.namespace.replace("-", "_")
            return f"{root}-{name}.slice"
        return f"/{self.cgroup_root.strip('/')}/{self.namespace}"
