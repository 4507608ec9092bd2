"""Containers and execs through an OCI runtime."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sharedrt.model.drivers.stats import CgroupStats, ContainerDetails, NetworkStats
from sharedrt.model.ids import ContainerKey
from sharedrt.model.records import ExecRecord
from sharedrt.model.spec import ContainerSpec, ImageDefaults, Resources
from sharedrt.model.stdio import StdioSession


@dataclass(frozen=True, slots=True)
class ResolvedMount:
    """A mount whose source is settled: a host path, or a tmpfs-like file system type."""

    source: str
    target: str
    type: str = "bind"
    options: tuple[str, ...] = ()
    propagation_default: bool = False
    """Nobody asked for its propagation: see :class:`sharedrt.model.spec.Mount`."""


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """All that is needed to make a bundle: nothing in it has to be looked up any more.

    ``namespace_paths`` maps OCI namespace types (``network pid ipc uts user cgroup``) to a path
    to join; a missing type is the host's when listed in ``host_namespaces``, a new one otherwise.
    """

    key: ContainerKey
    handler: str
    rootfs: Path
    spec: ContainerSpec
    image: ImageDefaults
    hostname: str
    cgroup_parent: str
    namespace_paths: Mapping[str, str] = field(default_factory=dict)
    host_namespaces: frozenset[str] = frozenset()
    mounts: tuple[ResolvedMount, ...] = ()
    """Settled client mounts, with /etc/hosts, /etc/hostname, /etc/resolv.conf and /dev/shm."""
    log_path: str = ""
    log_max_bytes: int = 0
    annotations: Mapping[str, str] = field(default_factory=dict)
    checkpoint: Path | None = None
    """Folder of CRIU's images: the processes are restored from them, and run as soon as they are created."""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A pid that cannot be confused with a later process of the same number."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a container's process ended."""

    exit_code: int
    finished_ns: int
    oom_killed: bool = False
    known: bool = True
    """False: no exit status could be found; the code is 137 then."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes


class OciRuntime(Protocol):
    """Containers through conmon and an OCI runtime (crun, runc or another handler).

    A container's folder and cgroup are functions of its key, below the run and state folders of the
    configuration. conmon lives on when the daemon dies; its exit file keeps the code.
    """

    async def create(self, request: BundleRequest) -> ProcessIdentity:
        """Write the bundle, start conmon and wait until the runtime has created the container (its
        process waits for start). Idempotent under the same id after a crash: leftovers are removed first.

        Raises:
            StartFailed: the runtime refused (a missing command: exit code 127 ...).
            FailedPrecondition: a binary is missing; names it and its package.
        """
        ...

    async def start(self, key: ContainerKey) -> None:
        """Let the created process run. Raises StartFailed."""
        ...

    async def kill(self, key: ContainerKey, signal: int, *, all: bool = False) -> None:
        """Send a signal to the first process, or to all. Raises NotFound when it has ended."""
        ...

    async def delete(self, key: ContainerKey) -> None:
        """Kill what is left, remove the runtime's state, the cgroup and the bundle. Idempotent."""
        ...

    async def pause(self, key: ContainerKey) -> None: ...

    async def resume(self, key: ContainerKey) -> None: ...

    async def update(self, key: ContainerKey, resources: Resources) -> None: ...

    def alive(self, identity: ProcessIdentity) -> bool: ...

    async def wait(self, key: ContainerKey, identity: ProcessIdentity) -> ExitStatus:
        """Wait for the process's end (pidfd) and conmon's exit file; also for one that ended before.

        A killed conmon leaves no file: exit code 137 then if its process is gone too (the process
        of a killed conmon is killed by us, since nobody could learn its code).
        """
        ...

    async def leftovers(self) -> Sequence[ContainerKey]:
        """Every container that has a bundle, runtime state or conmon on this host, for recovery."""
        ...

    async def end_lost_execs(self, key: ContainerKey) -> None:
        """Kill what an earlier daemon's clients ran in it, and that was to end with them. Idempotent."""
        ...

    async def pids(self, key: ContainerKey) -> Sequence[int]:
        """All processes in the container's cgroup, as host pids."""
        ...

    async def stats(self, key: ContainerKey) -> CgroupStats: ...

    async def details(self, key: ContainerKey) -> ContainerDetails:
        """Figures that cost more than :meth:`stats`: a walk through /proc. Raises NotFound."""
        ...

    async def parent_stats(self, parent: str) -> CgroupStats:
        """Of a cgroup that containers' cgroups stand in, given as clients write it: a path or a slice."""
        ...

    async def network_stats(self, pid: int) -> Sequence[NetworkStats]:
        """Interfaces as seen in that process's network namespace, without ``lo``."""
        ...

    async def runtime_spec(self, key: ContainerKey) -> Mapping[str, Any]:
        """config.json of its bundle. Raises NotFound where there is none: it does not run."""
        ...

    async def reopen_log(self, key: ContainerKey) -> None: ...

    async def attach(self, key: ContainerKey, *, tty: bool) -> StdioSession:
        """Join the live streams through conmon's attach socket. Output from before is in the log only."""
        ...

    async def resize(self, key: ContainerKey, width: int, height: int) -> None: ...

    async def check_exec(self, key: ContainerKey, exec: ExecRecord) -> None:
        """Raises NotFound: its user or group is not in the container. FailedPrecondition when not running."""
        ...

    async def exec(
        self,
        key: ContainerKey,
        exec: ExecRecord,
        *,
        kill_on_close: bool,
        on_pid: Callable[[int], None] | None = None,
        size: tuple[int, int] | None = None,
    ) -> StdioSession:
        """Start a process in the container. Raises StartFailed (126, 127), FailedPrecondition when not running."""
        ...

    async def exec_sync(
        self,
        key: ContainerKey,
        args: Sequence[str],
        *,
        timeout_s: float,
        limit_bytes: int = 16 << 20,
    ) -> ExecResult:
        """Run to the end; output beyond the limit is cut. Raises DeadlineExceeded after killing the
        whole process group; ``timeout_s`` 0: no bound."""
        ...

    async def require_checkpoints(self, handler: str) -> None:
        """Raises FailedPrecondition: CRIU, or the handler (empty: the default one), cannot do it here."""
        ...

    async def checkpoint(self, key: ContainerKey, folder: Path) -> None:
        """Write the processes' state below ``folder``: ``checkpoint/``, ``spec.dump`` and CRIU's log. They run on, or
        stay frozen if they were.

        Raises:
            Internal: CRIU could not, in its words. NotFound.
        """
        ...

    async def checkpointing(self, folder: Path) -> bool:
        """Whether a runtime is writing there: one that an earlier daemon has started goes on without it, and leaves the
        processes as frozen as it has found them."""
        ...

    @property
    def default_handler(self) -> str:
        """The handler that serves requests which name none."""
        ...

    def handlers(self) -> Mapping[str, str]:
        """Usable handlers: name to the binary's path."""
        ...

    async def purge(self) -> None:
        """Remove the cgroups and folders that outlive single containers. Nothing may run any more."""
        ...
