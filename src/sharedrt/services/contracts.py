"""What edges may ask of the runtime, one namespace at a time.

``runtime.within(namespace)`` gives a :class:`NamespacedRuntime`: the only way to containers, images and the
rest, bound to its namespace at birth. Methods take ids of that namespace or raise NotFound, in the same
words and time for an id of another namespace as for one that never was.

``get`` and the ``list`` methods read the working set in memory: they never wait.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from sharedrt.model.drivers import (
    CgroupStats,
    ContainerDetails,
    ExecResult,
    Ingest,
    LogLine,
    LogQuery,
    NetworkStats,
    Usage,
)
from sharedrt.model.faults import FailureWords
from sharedrt.model.ids import ContainerId, Digest, ExecId, LeaseId, Namespace, SandboxId
from sharedrt.model.records import (
    BlobRecord,
    ContainerRecord,
    DnsConfig,
    EndpointRecord,
    EventRecord,
    ExecRecord,
    Json,
    LeaseRecord,
    LogForward,
    NamespaceRecord,
    NetworkRequest,
    PortMapping,
    SandboxRecord,
    SandboxSpec,
)
from sharedrt.model.spec import ContainerSpec, Resources
from sharedrt.model.stdio import StdioSession
from sharedrt.services.volumes import NewVolume

if TYPE_CHECKING:
    import socket

    from sharedrt.services.builds import Builds
    from sharedrt.services.commits import Commits
    from sharedrt.services.containers.checkpoints import Checkpoints
    from sharedrt.services.containers.files import ContainerFiles
    from sharedrt.services.images import Image, Images
    from sharedrt.services.networks import Networks
    from sharedrt.services.volumes import Volumes


# ---------------------------------------------------------------- containers


@dataclass(frozen=True, slots=True)
class NewContainer:
    """A container to be created. ``name`` must be free in the namespace; empty: none.

    With ``sandbox_id`` the container lives in that pod; else ``networks`` (and ``ports``) say what it joins.
    An empty ``log_path`` with ``keep_log`` gives the container a log of its own under the state folder.
    """

    name: str
    image: str
    spec: ContainerSpec
    sandbox_id: SandboxId | None = None
    runtime_handler: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Json] = field(default_factory=dict)
    log_path: str = ""
    keep_log: bool = True
    log_max_bytes: int = 0
    log_max_files: int = 1
    log_compress: bool = False
    log_forward: LogForward | None = None
    networks: tuple[NetworkRequest, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    dns: DnsConfig = DnsConfig()
    exposed_ports: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    """``name:address``."""
    volumes: tuple[NewVolume, ...] = ()
    """Labels and options of volumes among ``spec.mounts``, for those that are not there yet."""
    auto_remove: bool = False
    restart_policy: str = "no"
    restart_max_retries: int = 0
    id: ContainerId | None = None
    """Chosen by the caller, or made here."""
    checkpoint: str = ""
    """Host path of an archive that it shall be restored from; ``image`` is then the archive's."""
    base: "Image | None" = None
    """What to run instead of an image that ``image`` finds: one that has no name and no row (yet). Its layers' rows
    are there."""


class WaitCondition(StrEnum):
    """Docker's conditions of ``wait``."""

    NOT_RUNNING = "not-running"
    NEXT_EXIT = "next-exit"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """A container's figures at one time: ``networks`` of its places on our networks, ``writable`` of its snapshot's
    upper folder."""

    id: ContainerId
    cgroup: CgroupStats
    networks: tuple[NetworkStats, ...]
    writable: Usage | None


@dataclass(frozen=True, slots=True)
class LayerFolders:
    """Of a container's overlay mount. ``lower``: topmost first."""

    lower: tuple[str, ...]
    upper: str
    work: str
    merged: str


class Containers(Protocol):
    """One namespace's containers. All methods that change are safe to cancel: the step under way is
    finished or undone, never left half done. Calls on one container queue behind each other."""

    async def create(self, request: NewContainer) -> ContainerRecord:
        """Make snapshot, rows and log; nothing runs yet.

        Raises:
            NotFound: image (kind ``image``) or sandbox. AlreadyExists: the name (kind ``container``).
            InvalidArgument, FailedPrecondition.
        """
        ...

    async def start(self, id: ContainerId, *, words: FailureWords = str) -> None:
        """Run it. Raises StartFailed (the record then says exited, with the code and reason),
        AlreadyDone when it runs already.

        Args:
            words: what its record shall say of a start that fails.
        """
        ...

    def private_env(
        self, id: ContainerId, variables: tuple[str, ...]
    ) -> AbstractContextManager[None]:
        """Variables (``KEY=value``) that a start inside the block gives to the process, and nobody keeps."""
        ...

    async def stop(
        self, id: ContainerId, *, grace_s: float | None = None, signal: str = ""
    ) -> None:
        """Send the stop signal, wait, then SIGKILL; returns when it has ended.

        Args:
            grace_s: ``None``: the container's own or 10 s; negative: wait for ever; 0: kill at once.

        Raises:
            AlreadyDone: it was not running.
        """
        ...

    async def restart(
        self,
        id: ContainerId,
        *,
        grace_s: float | None = None,
        signal: str = "",
        words: FailureWords = str,
    ) -> None: ...

    async def kill(self, id: ContainerId, signal: str = "SIGKILL") -> None:
        """Raises FailedPrecondition when it does not run, InvalidArgument for an unknown signal."""
        ...

    async def pause(self, id: ContainerId) -> None: ...

    async def unpause(self, id: ContainerId) -> None: ...

    async def remove(self, id: ContainerId, *, force: bool = False, volumes: bool = False) -> None:
        """Remove all that belongs to it (log too, when it is under our own state folder).

        Args:
            volumes: its anonymous volumes too, unless another container mounts them.

        Raises:
            NotFound. FailedPrecondition: it runs and ``force`` is not set.
        """
        ...

    async def rename(self, id: ContainerId, name: str) -> None: ...

    async def update(self, id: ContainerId, resources: Resources) -> None:
        """Change limits of a live (or not yet started) container; ``None`` fields stay."""
        ...

    async def connect_network(self, id: ContainerId, request: NetworkRequest) -> None:
        """Join a network: at once when it runs, else at its next start.

        Raises:
            NotFound: kind ``network``. AlreadyExists: kind ``endpoint``, it is on it already.
            FailedPrecondition: it shares a network namespace, or the network is none to join.
            InUse: kind ``address`` or ``port``. InvalidArgument, ResourceExhausted.
        """
        ...

    async def disconnect_network(self, id: ContainerId, network: str) -> None:
        """Leave a network. Raises NotFound (kind ``network``), FailedPrecondition when it is not on it."""
        ...

    async def change(
        self, id: ContainerId, edit: Callable[[ContainerRecord], ContainerRecord]
    ) -> ContainerRecord:
        """Replace the record (labels, extensions, restart policy) in one transaction."""
        ...

    def get(self, ref: str) -> ContainerRecord:
        """By full id, name, or unique id prefix. Raises NotFound (kind ``container``), Ambiguous."""
        ...

    def by_id(self, id: str) -> ContainerRecord:
        """By full id only. Raises NotFound."""
        ...

    def list(self) -> Sequence[ContainerRecord]:
        """All, oldest first."""
        ...

    async def wait(
        self, id: ContainerId, condition: WaitCondition = WaitCondition.NOT_RUNNING
    ) -> ContainerRecord:
        """The record as of the condition (for REMOVED: the last one there was)."""
        ...

    async def attach(self, id: ContainerId) -> StdioSession:
        """Live streams. May be called before ``start`` (Docker does): nothing is missed then."""
        ...

    async def resize(self, id: ContainerId, width: int, height: int) -> None: ...

    async def runtime_spec(self, id: ContainerId) -> Mapping[str, Any] | None:
        """What its OCI runtime was given (config.json); ``None`` before a start and after its end."""
        ...

    async def processes(self, id: ContainerId) -> Sequence[int]:
        """Host pids. Raises FailedPrecondition when it does not run."""
        ...

    async def stats(self, id: ContainerId, *, writable: bool = True) -> ContainerStats: ...

    async def details(self, id: ContainerId) -> ContainerDetails:
        """Figures that cost more. Raises NotFound, and FailedPrecondition when it does not run."""
        ...

    async def usage(self, id: ContainerId) -> Usage:
        """Size of the writable layer."""
        ...

    def restarting(self, id: ContainerId) -> bool:
        """Whether its restart policy is about to start it again."""
        ...

    def logs(self, id: ContainerId, query: LogQuery) -> AsyncIterator[Sequence[LogLine]]:
        """Raises FailedPrecondition when no log is kept. Following ends with the container's end."""
        ...

    async def reopen_log(self, id: ContainerId) -> None: ...

    def files_folder(self, id: ContainerId) -> str:
        """Host folder of its generated ``resolv.conf``, ``hosts`` and ``hostname`` while it runs."""
        ...

    async def layers(self, id: ContainerId) -> LayerFolders:
        """Host folders that its root file system is made of."""
        ...

    def endpoints(self, id: ContainerId) -> Sequence[EndpointRecord]:
        """Its places on networks while it runs."""
        ...


# ---------------------------------------------------------------- execs


@dataclass(frozen=True, slots=True)
class NewExec:
    container_id: ContainerId
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = True
    attach_stderr: bool = True
    privileged: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] | None = None


class Execs(Protocol):
    """Processes started inside running containers."""

    async def create(self, request: NewExec) -> ExecRecord:
        """Raises NotFound, FailedPrecondition (the container does not run, or is paused)."""
        ...

    async def start(
        self, id: ExecId, *, detach: bool = False, size: tuple[int, int] | None = None
    ) -> StdioSession | None:
        """Start it; ``None`` when detached. Raises AlreadyDone when it was started before, StartFailed.

        Its process goes on when the session is closed, as Docker's does.
        """
        ...

    async def resize(self, id: ExecId, width: int, height: int) -> None: ...

    def get(self, id: str) -> ExecRecord:
        """Also for some minutes after its end, as long as the container is there. Raises NotFound (kind ``exec``)."""
        ...

    def of_container(self, id: ContainerId) -> Sequence[ExecRecord]:
        """Execs of a container that is still there, as far as :meth:`get` has them."""
        ...

    async def run(self, request: NewExec, *, kill_on_close: bool = True) -> StdioSession:
        """Start without a record, for CRI's streaming Exec."""
        ...

    async def sync(
        self, container_id: ContainerId, args: Sequence[str], *, timeout_s: float
    ) -> ExecResult:
        """CRI's ExecSync. ``timeout_s`` 0: no bound. Raises DeadlineExceeded."""
        ...


# ---------------------------------------------------------------- pods


@dataclass(frozen=True, slots=True)
class NewSandbox:
    """A pod sandbox to run; (name, uid, pod_namespace, attempt) says which, so that a repeated call
    finds what the first one made."""

    name: str
    uid: str
    pod_namespace: str
    attempt: int
    spec: SandboxSpec
    runtime_handler: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodStats:
    """A pod's figures at one time."""

    id: SandboxId
    cgroup: CgroupStats | None
    """Of the pod's own cgroup; ``None`` for a pod that was given none."""
    networks: tuple[NetworkStats, ...]
    """Empty on the host's network, and while no process is there to look from."""


class Pods(Protocol):
    """One namespace's pod sandboxes."""

    async def run(self, request: NewSandbox) -> SandboxRecord:
        """Make namespaces and network. A call for a pod that is being made, or is ready, answers with that one.

        Raises:
            Unavailable: the network could not be set up; nothing is left behind.
            NotFound: kind ``runtime handler``.
        """
        ...

    async def stop(self, id: SandboxId) -> None:
        """Kill its containers, tear down the network once, unpin namespaces. Idempotent."""
        ...

    async def remove(self, id: SandboxId) -> None:
        """Stop it and remove it with all its containers. Removing an unknown one is success."""
        ...

    def get(self, ref: str) -> SandboxRecord:
        """By id or unique prefix. Raises NotFound (kind ``sandbox``)."""
        ...

    def list(self) -> Sequence[SandboxRecord]: ...

    def containers_of(self, id: SandboxId) -> Sequence[ContainerRecord]:
        """Newest first: a kubelet that follows events takes the first one of a name for its last attempt."""
        ...

    def first_process(self, id: SandboxId) -> int:
        """Host pid of the process that stands for the pod, since it sees its network: its own first one, or that of its
        oldest running container; 0 while there is none. Raises NotFound."""
        ...

    async def stats(self, id: SandboxId) -> PodStats:
        """Raises NotFound."""
        ...

    async def update_resources(
        self, id: SandboxId, overhead: Resources, resources: Resources
    ) -> None:
        """Note what the kubelet gives the pod's cgroup, for status to show. The cgroup is its own to change, and it
        does so itself, before or after this call. Raises NotFound."""
        ...

    async def connect(self, id: SandboxId, port: int) -> "socket.socket":
        """A TCP connection to the pod's own loopback address, IPv4 first, as a non-blocking socket.

        Raises:
            NotFound. FailedPrecondition: the pod is not ready. Unavailable: nothing listens there.
        """
        ...

    def network_ready(self) -> tuple[bool, str, str]:
        """(ready, reason, message) as CRI's NetworkReady condition wants them."""
        ...


# ---------------------------------------------------------------- events


class Events(Protocol):
    """One namespace's events: what is stored, and then what comes."""

    async def publish(
        self, kind: str, action: str, actor: str, attributes: Mapping[str, str]
    ) -> EventRecord:
        """Record an event that an edge knows of (services publish their own)."""
        ...

    def subscribe(
        self, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[EventRecord]]:
        """Events from now; with either bound, those in the store first, from ``since_ns`` on, without gap or repeat.

        A subscriber that lags more than 4096 events behind is ended with ResourceExhausted.
        With ``until_ns`` the iterator ends at that time.
        """
        ...


# ---------------------------------------------------------------- content and leases


class Content(Protocol):
    """The blobs that this namespace may see: containerd's content service for ``ctr`` and tools."""

    async def info(self, digest: Digest) -> BlobRecord:
        """Raises NotFound (kind ``content``)."""
        ...

    async def list(self) -> Sequence[BlobRecord]: ...

    def read(self, digest: Digest, *, offset: int, length: int | None) -> AsyncIterator[bytes]: ...

    async def set_labels(self, digest: Digest, labels: Mapping[str, str]) -> BlobRecord: ...

    async def delete(self, digest: Digest) -> None: ...

    def ingest(self, reference: str) -> AbstractAsyncContextManager[Ingest]:
        """An ingest of this namespace; its commit must be followed by :meth:`grant`."""
        ...

    async def grant(self, digest: Digest, size: int, labels: Mapping[str, str]) -> BlobRecord:
        """Record that this namespace has the blob that it has just written itself.

        Raises:
            Unavailable: the collector came between; to be written again.
        """
        ...


class Leases(Protocol):
    """Holds against garbage collection."""

    async def create(self, record: LeaseRecord) -> LeaseRecord: ...

    async def delete(self, id: LeaseId) -> None: ...

    async def list(self) -> Sequence[LeaseRecord]: ...

    async def add_resource(self, id: LeaseId, kind: str, resource: str) -> None: ...

    async def delete_resource(self, id: LeaseId, kind: str, resource: str) -> None: ...


# ---------------------------------------------------------------- the whole


@dataclass(frozen=True, slots=True)
class HostInfo:
    """The host and this program, true figures for ``/info``, Status and Version."""

    hostname: str
    kernel: str
    operating_system: str
    os_version: str
    architecture: str
    """OCI's name: amd64, arm64 ..."""
    machine: str
    """uname's: x86_64 ..."""
    cpus: int
    memory_bytes: int
    version: str
    git_commit: str
    go_os: str
    started_ns: int
    cgroup_version: int
    cgroup_driver: str
    storage_driver: str
    storage_status: tuple[tuple[str, str], ...]
    """(name, value) of what the driver says of itself."""
    state_dir: str
    default_runtime: str
    runtimes: Mapping[str, str]
    security_options: tuple[str, ...]
    components: tuple[tuple[str, str], ...]
    """(name, version) of conmon, crun, runc, CNI plugins, catatonit."""
    problems: tuple[str, ...]
    instance_id: str
    """Of this engine, the same after restarts."""


class NamespacedRuntime(Protocol):
    """All that one namespace can do."""

    @property
    def namespace(self) -> Namespace: ...
    @property
    def containers(self) -> Containers: ...
    @property
    def execs(self) -> Execs: ...
    @property
    def pods(self) -> Pods: ...
    @property
    def images(self) -> "Images": ...
    @property
    def networks(self) -> "Networks": ...
    @property
    def files(self) -> "ContainerFiles": ...
    @property
    def commits(self) -> "Commits": ...
    @property
    def checkpoints(self) -> "Checkpoints": ...
    @property
    def builds(self) -> "Builds": ...
    @property
    def volumes(self) -> "Volumes": ...
    @property
    def events(self) -> Events: ...
    @property
    def content(self) -> "Content": ...
    @property
    def leases(self) -> "Leases": ...


class AllNamespaces(Protocol):
    """Work that truly spans namespaces: the administrator's view. Never given to CRI, Docker or tenants."""

    def names(self) -> Sequence[Namespace]: ...

    async def list(self) -> Sequence[NamespaceRecord]: ...

    async def create(self, name: Namespace, labels: Mapping[str, str]) -> NamespaceRecord: ...

    async def set_labels(self, name: Namespace, labels: Mapping[str, str]) -> NamespaceRecord: ...

    async def delete(self, name: Namespace) -> None:
        """Raises NotFound, FailedPrecondition while it holds anything, or is ``k8s.io`` or ``moby``."""
        ...

    def subscribe(
        self,
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[Namespace, EventRecord]]]: ...


class Runtime(Protocol):
    """The root of the services, built by ``daemon.py``."""

    @property
    def host(self) -> HostInfo: ...

    def within(self, namespace: Namespace) -> NamespacedRuntime:
        """One namespace's services; always the same object for the same name."""
        ...

    @property
    def all_namespaces(self) -> AllNamespaces: ...
