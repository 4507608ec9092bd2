"""What services need of the host: one Protocol per driver. Implemented in ``sharedrt.drivers``.

A driver does one mechanism, knows no other driver and no policy, and raises faults. Every step that
changes the world is idempotent: doing it twice is harmless, undoing what is not there is success.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from sharedrt.model.ids import ContainerKey, Digest
from sharedrt.model.records import Descriptor, DnsConfig, ExecRecord, Json, LogForward, PortMapping
from sharedrt.model.spec import ContainerSpec, ImageDefaults, Resources, User
from sharedrt.model.stdio import StdioSession

# ---------------------------------------------------------------- content


class Ingest(Protocol):
    """A blob being written. Resumable under its ``reference`` after a crash or a broken connection."""

    @property
    def offset(self) -> int:
        """Bytes already there."""
        ...

    async def write(self, data: bytes) -> None:
        """Append; hashes as it goes. Raises ResourceExhausted when the disk is full."""
        ...

    async def truncate(self) -> None:
        """Begin again from nothing."""
        ...

    async def commit(self, expected: Digest | None, size: int | None) -> tuple[Digest, int]:
        """Verify, fsync and move into place (a no-op when the blob is there already).

        Raises:
            DataLoss: digest or size differ; the ingest is gone then.
        """
        ...


class ContentStore(Protocol):
    """Blobs by digest, one file each, shared by all namespaces. Access is the store's business."""

    @property
    def scratch(self) -> Path:
        """A folder of the same file system for files without a name, such as a spooled archive."""
        ...

    def path(self, digest: Digest) -> Path: ...

    def ingest(self, reference: str) -> AbstractAsyncContextManager[Ingest]:
        """Open, or resume, the ingest of that name. Two at once of one name: the second waits.

        Left without a commit, what has arrived stays, to be resumed; ResourceExhausted takes it away.
        """
        ...

    async def read(self, digest: Digest, *, limit: int = 8 << 20) -> bytes:
        """A small blob whole. Raises NotFound, ResourceExhausted beyond ``limit`` bytes."""
        ...

    def stream(
        self, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Chunks of at most 1 MiB, read on threads. Raises NotFound."""
        ...

    async def size(self, digest: Digest) -> int | None:
        """Size in bytes, or ``None`` when there is no such blob."""
        ...

    async def delete(self, digest: Digest) -> bool: ...

    async def digests(self) -> Sequence[Digest]:
        """All blobs on disk, for removing what no row knows."""
        ...

    async def discard_ingests(self, *, idle_s: float) -> int:
        """Remove ingests that nobody has open and nobody has written to for so long; how many."""
        ...


# ---------------------------------------------------------------- layers and snapshots


@dataclass(frozen=True, slots=True)
class LayerResult:
    """An applied layer: digest of the uncompressed tar, and what it takes on disk."""

    diff_id: Digest
    size_bytes: int
    inodes: int


class LayerUnpacker(Protocol):
    """Unpacks layer tars in chrooted worker processes, in parallel."""

    async def apply(
        self,
        blob: Path,
        media_type: str,
        target: Path,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> LayerResult:
        """Unpack ``blob`` (tar, tar+gzip, tar+zstd) into the folder ``target``, overlayfs style
        (whiteouts as 0:0 character devices, opaque folders by ``trusted.overlay.opaque``).

        Args:
            progress: called now and then with the compressed bytes consumed so far.

        Raises:
            DataLoss: truncated or corrupt. InvalidArgument: a hostile path or entry; nothing outside
            ``target`` was touched. ResourceExhausted: disk full or beyond the configured bounds.
        """
        ...

    async def diff(
        self,
        upper: Path,
        sink: Callable[[bytes], Awaitable[None]],
        *,
        uid_mappings: Sequence[tuple[int, int, int]] = (),
        gid_mappings: Sequence[tuple[int, int, int]] = (),
        exclude: Sequence[str] = (),
        newest_ns: int | None = None,
    ) -> None:
        """The tar of an overlayfs upper folder as a layer (whiteouts in OCI form), to ``sink``.

        With the mappings of its mount, owners become those of the image again. ``exclude``: paths without a leading
        slash that are left out when they are empty, but for others of them (mount points that a runtime has made).
        ``newest_ns``: later times become this one.
        """
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    size_bytes: int
    """Disk blocks."""
    inodes: int
    content_bytes: int = 0
    """What is in the files, as Docker counts."""


class ChangeKind(IntEnum):
    """What has become of a path; the numbers are the Engine API's."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class PathChange(NamedTuple):
    """A path, absolute in the container, that differs from the image."""

    path: str
    kind: ChangeKind


class Snapshotter(Protocol):
    """overlayfs folders on disk. Rows are the store's; folders are named by the caller's ``directory``.

    A committed layer's folder is ``layers/<directory>/fs``; an active one's are
    ``active/<directory>/{fs,work,rootfs}``. ``rootfs`` is the mount point.
    """

    def layer_path(self, directory: str) -> Path:
        """Where a committed layer's files are (exists only once committed)."""
        ...

    def prepare_layer(
        self, directory: str
    ) -> AbstractAsyncContextManager[tuple[Path, Callable[[], Awaitable[None]]]]:
        """A fresh folder to unpack into, and the function that commits it: syncs and renames it into
        place. Leaving without committing removes it. Two at once of one name: the second waits, and
        finds it committed (check :meth:`has_layer` inside)."""
        ...

    async def has_layer(self, directory: str) -> bool: ...

    async def mount(
        self,
        directory: str,
        layers: Sequence[str],
        *,
        readonly: bool = False,
        uid_mappings: Sequence[tuple[int, int, int]] = (),
        gid_mappings: Sequence[tuple[int, int, int]] = (),
        selinux_label: str = "",
    ) -> Path:
        """Mount an active snapshot over ``layers`` (topmost first); the root file system's path. Idempotent.

        With mappings the lower layers are idmapped.
        """
        ...

    async def bind_idmapped(
        self,
        binds: Sequence[tuple[Path, Path]],
        uid_mappings: Sequence[tuple[int, int, int]],
        gid_mappings: Sequence[tuple[int, int, int]],
    ) -> None:
        """Bind files or folders (source, target) with the owners mapped as a user namespace has them. Targets
        are made; plain unmounting undoes it, and what is mounted below a source does not come along.

        Raises:
            FailedPrecondition: the file system of a source has no idmapped mounts. NotFound: a source.
        """
        ...

    async def unmount(self, directory: str) -> None:
        """Idempotent; keeps the upper folder."""
        ...

    async def remove_active(self, directory: str) -> None:
        """Unmount and remove. Idempotent."""
        ...

    async def remove_layer(self, directory: str) -> None: ...

    def upper_path(self, directory: str) -> Path: ...

    async def usage(self, directory: str) -> Usage:
        """What the writable layer of an active snapshot takes (walked on a thread)."""
        ...

    async def changes(
        self, directory: str, layers: Sequence[str], ignored: frozenset[str]
    ) -> Sequence[PathChange]:
        """How an active snapshot differs from ``layers`` (topmost first), by path.

        Args:
            ignored: paths without a leading slash that are no change as long as they are empty.
        """
        ...

    async def layers_on_disk(self) -> Sequence[str]: ...

    async def actives_on_disk(self) -> Sequence[str]: ...


# ---------------------------------------------------------------- registry


@dataclass(frozen=True, slots=True)
class Credentials:
    """``identity_token`` is an OAuth2 refresh token, ``registry_token`` a bearer token used as it is."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    server_address: str = ""


class Repository(Protocol):
    """One repository at its registry, through the hosts that ``certs.d`` names for it (mirrors first)."""

    async def resolve(self, reference: str) -> Descriptor:
        """The descriptor of a tag or digest (HEAD, or GET where HEAD gives no digest).

        Raises:
            NotFound: every host that answered says unknown. Unauthenticated, PermissionDenied,
            Unavailable: with the host named and the registry's own words.
        """
        ...

    async def manifest(self, descriptor: Descriptor) -> bytes:
        """The manifest's or index's bytes, digest verified, at most 4 MiB."""
        ...

    async def fetch_blob(
        self, descriptor: Descriptor, into: Ingest, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """Stream a blob into an ingest, resuming by Range after a broken connection; verified by the
        ingest's commit, which the caller does. ``progress`` gets the bytes had so far.

        Raises:
            DeadlineExceeded: no byte arrived for ``registry.stall_timeout_s``.
        """
        ...

    async def has_blob(self, digest: Digest) -> bool:
        """Whether these credentials may read the blob there (HEAD): the proof for sharing a blob."""
        ...

    async def push_blob(
        self,
        descriptor: Descriptor,
        content: Callable[[], AsyncIterator[bytes]],
        *,
        mount_from: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> bool:
        """Upload unless it is there; False when it was (or was mounted from ``mount_from``)."""
        ...

    async def push_manifest(self, tag_or_digest: str, media_type: str, data: bytes) -> Digest: ...

    async def tags(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """A repository that a search has found. ``name`` is the path at its registry."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


class Registry(Protocol):
    """Registries, as configured by ``certs.d``."""

    def repository(
        self, host: str, path: str, credentials: Credentials | None, *, push: bool = False
    ) -> Repository: ...

    async def search(
        self, host: str, term: str, limit: int, credentials: Credentials | None
    ) -> Sequence[FoundRepository]:
        """Repositories of the registry ``host`` that have ``term`` in their name (or whatever its own search
        finds), at most ``limit``.

        Raises:
            Unauthenticated, PermissionDenied, Unavailable, DeadlineExceeded. NotFound: it can neither search nor list.
        """
        ...

    async def login(self, credentials: Credentials) -> str:
        """Check credentials against ``server_address``; an identity token where the registry gives one.

        Raises:
            Unauthenticated, Unavailable.
        """
        ...


# ---------------------------------------------------------------- OCI runtimes


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


@dataclass(frozen=True, slots=True)
class CpuStats:
    total_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    per_cpu_ns: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_ns: int = 0
    online_cpus: int = 0
    system_total_ns: int = 0
    """The host's whole CPU time (user+nice+system+idle+...), for Docker's percentage."""


@dataclass(frozen=True, slots=True)
class MemoryStats:
    usage_bytes: int = 0
    working_set_bytes: int = 0
    available_bytes: int = 0
    rss_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    limit_bytes: int = 0
    max_usage_bytes: int = 0
    fail_count: int = 0
    swap_usage_bytes: int = 0
    swap_limit_bytes: int = 0
    raw: Mapping[str, int] = field(default_factory=dict)
    """memory.stat as it stands."""


@dataclass(frozen=True, slots=True)
class BlkioEntry:
    major: int
    minor: int
    op: str
    value: int


@dataclass(frozen=True, slots=True)
class PressureStats:
    """PSI: of some and of full, the averages in percent and the total in microseconds."""

    some_avg10: float = 0
    some_avg60: float = 0
    some_avg300: float = 0
    some_total_us: int = 0
    full_avg10: float = 0
    full_avg60: float = 0
    full_avg300: float = 0
    full_total_us: int = 0


@dataclass(frozen=True, slots=True)
class NetworkStats:
    interface: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class CgroupStats:
    """What a cgroup's files say, at ``time_ns``."""

    time_ns: int
    cpu: CpuStats = CpuStats()
    memory: MemoryStats = MemoryStats()
    blkio_bytes: tuple[BlkioEntry, ...] = ()
    blkio_ops: tuple[BlkioEntry, ...] = ()
    pids_current: int = 0
    pids_limit: int = 0
    cpu_pressure: PressureStats | None = None
    memory_pressure: PressureStats | None = None
    io_pressure: PressureStats | None = None


@dataclass(frozen=True, slots=True)
class HugetlbStats:
    """Huge pages of one size (``2MB``); ``max_usage_bytes`` is ``None`` where the kernel keeps no peak."""

    page_size: str
    usage_bytes: int
    max_usage_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CgroupDetails:
    """A cgroup's figures that only metrics ask for."""

    oom_kills: int = 0
    kernel_memory_bytes: int = 0
    memory_low_bytes: int = 0
    """v1's soft limit, v2's ``memory.low``; 0: none."""
    hugetlb: tuple[HugetlbStats, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """Of a container's processes together. ``open_files_limit``: the first one's soft limit, ``None`` without."""

    processes: int = 0
    file_descriptors: int = 0
    sockets: int = 0
    open_files_limit: int | None = None


@dataclass(frozen=True, slots=True)
class FileSystemStats:
    device: str
    size_bytes: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True, slots=True)
class ContainerDetails:
    """All of these; ``filesystem`` is the one that holds the writable layer."""

    cgroup: CgroupDetails
    processes: ProcessFigures
    filesystem: FileSystemStats


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


# ---------------------------------------------------------------- logs


class LogLine(NamedTuple):
    """One write of a container, without CRI's framing and newline; ``partial``: no newline ended it.

    A tuple, since logs are many: half a million of these a second are made.
    """

    time_ns: int
    stream: int
    """1 stdout, 2 stderr."""
    data: bytes
    partial: bool


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines; times in nanoseconds, 0: no bound; ``tail`` -1: all."""

    follow: bool = False
    since_ns: int = 0
    until_ns: int = 0
    tail: int = -1
    stdout: bool = True
    stderr: bool = True


class LogReader(Protocol):
    """Reads CRI-format log files, also across rotation (``path.TIMESTAMP``, ``path.1``)."""

    def read(
        self, path: Path, query: LogQuery, *, ended: Callable[[], bool]
    ) -> AsyncIterator[Sequence[LogLine]]:
        """Batches of lines. Following ends when ``ended()`` is true and the file is read to its end."""
        ...


@dataclass(frozen=True, slots=True)
class ForwardTarget:
    """Where lines go, and whose they are. ``tag`` is rendered."""

    forward: LogForward
    id: str
    name: str
    image: str
    tag: str


class LogSink(Protocol):
    """A connection to another log."""

    async def send(self, lines: Sequence[LogLine]) -> None:
        """Returns when all are handed over. Raises Unavailable; some may have arrived then."""
        ...


class LogForwarder(Protocol):
    """Takes container logs to the host's or another machine's log."""

    def open(self, target: ForwardTarget) -> AbstractAsyncContextManager[LogSink]:
        """Connect. Raises Unavailable: nobody is there."""
        ...


@dataclass(frozen=True, slots=True)
class LogBounds:
    """A log that is kept in several files: ``max_files`` of ``max_bytes`` each, or a little more."""

    path: Path
    max_bytes: int
    max_files: int
    """At least 2: the one that is written to, and its predecessors."""
    compress: bool = False
    """The predecessors with gzip."""


class LogRotator(Protocol):
    """Keeps logs within their bounds, by names that :class:`LogReader` knows."""

    async def due(self, logs: Sequence[LogBounds]) -> Sequence[LogBounds]:
        """Those that have grown beyond their size, or whose rotation was cut off."""
        ...

    async def rotate(self, log: LogBounds, reopen: Callable[[], Awaitable[None]]) -> None:
        """Begin a new file.

        Args:
            reopen: has the writer open ``path`` anew; may raise NotFound and FailedPrecondition when there is none.

        Raises:
            Internal: the files cannot be moved. What ``reopen`` raises.
        """
        ...


# ---------------------------------------------------------------- namespaces and networks


class SandboxNamespaces(Protocol):
    """Pins network, IPC and UTS namespaces as bind mounts; made in a short-lived thread or process."""

    async def create(
        self,
        directory: Path,
        kinds: frozenset[str],
        *,
        hostname: str,
        sysctls: Mapping[str, str],
        user_mappings: Sequence[tuple[int, int, int]] = (),
        group_mappings: Sequence[tuple[int, int, int]] = (),
    ) -> Mapping[str, Path]:
        """Make the namespaces ``kinds`` (out of ``net ipc uts user``), set hostname and sysctls there, bring up
        ``lo``, and pin each at ``directory/KIND``. Idempotent: existing pins are replaced.

        Raises:
            InvalidArgument: an unknown or forbidden sysctl, by name.
        """
        ...

    async def remove(self, directory: Path) -> None:
        """Unpin and remove. Idempotent."""
        ...

    async def tcp_socket(self, netns: Path, family: int) -> int:
        """File descriptor of a new TCP socket of that network namespace, the caller's to close: wherever it
        is used, it sees that namespace's addresses and routes.

        Raises:
            Internal: the namespace is gone.
        """
        ...

    async def network_stats(self, netns: Path) -> Sequence[NetworkStats]:
        """Interfaces of that network namespace, without ``lo``, whether or not a process is in it.

        Raises:
            Internal: the namespace is gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class CniResult:
    """What ADD gave: addresses (CIDR), DNS, and the raw result, needed for DEL."""

    addresses: tuple[str, ...]
    raw: Json
    dns: DnsConfig = DnsConfig()


@dataclass(frozen=True, slots=True)
class CniRequest:
    """One pod's attachment."""

    container_id: str
    netns: Path
    args: Mapping[str, str]
    """CNI_ARGS: K8S_POD_NAME, K8S_POD_NAMESPACE, K8S_POD_UID, K8S_POD_INFRA_CONTAINER_ID, IgnoreUnknown."""
    port_mappings: tuple[PortMapping, ...] = ()
    ingress_bps: int = 0
    egress_bps: int = 0
    cgroup_path: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


class CniNetwork(Protocol):
    """The default network of the CNI configuration folder, re-read when it changes."""

    def configured(self) -> str:
        """Name of the network; empty when the folder has no usable configuration."""
        ...

    def problem(self) -> str:
        """Why the newest configuration cannot be used; empty when all is well or nothing is there."""
        ...

    async def add(self, request: CniRequest) -> CniResult:
        """Raises Unavailable with the plugin's own words; what earlier plugins did has been undone."""
        ...

    async def delete(self, request: CniRequest, previous: Json) -> None: ...


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """A bridge as it shall be; addresses in CIDR form, the bridge's own."""

    name: str
    addresses: tuple[str, ...]
    mtu: int = 1500
    masquerade: bool = True
    internal: bool = False
    inter_container: bool = True
    isolation_group: str = ""
    """Bridges of different groups never reach each other (a namespace's name)."""
    routed: bool = False
    """Its containers may be reached from outside the host at any port, as pods are."""


@dataclass(frozen=True, slots=True)
class ParentConfig:
    """The link of the host on which macvlan and ipvlan interfaces sit.

    ``vlan`` and ``base``: a subinterface for that VLAN of the link ``base``, made when it is not there.
    ``private``: a link that leads nowhere, made here, for networks that have no way out. ``kind`` is ``macvlan`` or
    ``ipvlan``.
    """

    name: str
    kind: str
    base: str = ""
    vlan: int = 0
    private: bool = False


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One interface in a network namespace, plugged into a bridge, with its published ports.

    For ``driver`` ``macvlan`` and ``ipvlan``, ``bridge`` is the parent link's name, and no ports are published.
    """

    id: str
    bridge: str
    netns: Path
    interface: str
    mac: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    ports: tuple[PortMapping, ...] = ()
    mtu: int = 1500
    ingress_bps: int = 0
    """Bits a second towards the container; 0: no bound."""
    egress_bps: int = 0
    driver: str = "bridge"
    mode: str = ""
    """``bridge private vepa passthru`` of macvlan, ``l2 l3 l3s`` of ipvlan."""
    flag: str = ""
    """``bridge private vepa`` of ipvlan."""
    device_route: bool = False
    """The way to the world is the interface itself, without a gateway (ipvlan's l3 and l3s)."""
    sysctls: tuple[str, ...] = ()
    """``NAME=VALUE`` each, with ``IFNAME`` in the place of the interface's name."""


class BridgeNetwork(Protocol):
    """Bridges, veths and one nftables table (netlink; no process per container)."""

    async def ensure_bridge(self, config: BridgeConfig) -> None:
        """Make or mend the bridge, its addresses and its rules. Idempotent."""
        ...

    async def remove_bridge(self, name: str) -> None:
        """If we have made it, and its rules in any case. Idempotent."""
        ...

    async def ensure_parent(self, config: ParentConfig) -> None:
        """Make or find the parent link. Idempotent.

        Raises:
            FailedPrecondition: it is not there and cannot be made, or the kernel knows no links of that kind.
        """
        ...

    async def remove_parent(self, name: str) -> None:
        """If we have made it. Idempotent."""
        ...

    async def parents_on_host(self) -> Sequence[str]:
        """Names of the parent links that we made, for removing what no row owns."""
        ...

    async def connect(self, config: EndpointConfig) -> None:
        """Plug in and publish, or nothing at all. Idempotent under the same id."""
        ...

    async def disconnect(self, config: EndpointConfig) -> None:
        """Idempotent, also when the network namespace is gone."""
        ...

    async def point_names(
        self, netns: Path, server: str, ports: tuple[int, int] = (53, 53)
    ) -> None:
        """Let port 53 of 127.0.0.11 in a network namespace lead to a server (IPv4); empty: nowhere. Idempotent,
        also when the namespace is gone.

        Args:
            ports: the server's, of UDP and of TCP.
        """
        ...

    async def endpoints_on_host(self) -> Sequence[str]:
        """Ids of endpoints that have a veth or nft elements, for removing what no row owns."""
        ...

    async def bridges_on_host(self) -> Sequence[str]:
        """Names of the bridges that we made or have rules for, for removing what no row owns."""
        ...

    async def host_port_free(self, protocol: str, address: str, port: int) -> bool:
        """Whether nothing on the host listens there (checked by binding)."""
        ...

    async def host_subnets(self) -> Sequence[str]:
        """CIDRs that the host has routes to, other than over bridges of ours."""
        ...

    async def mend(self) -> bool:
        """Put our rules back if others changed or removed them; whether that was needed."""
        ...

    async def rules_changed(self) -> None:
        """Wait until somebody, we not left out, may have changed rules that matter to us."""
        ...

    async def problems(self) -> Sequence[str]:
        """What of the host's firewall will stop our containers' traffic, in words for an administrator."""
        ...

    async def flush(self) -> None:
        """Remove the table and all bridges of ours: the purge."""
        ...


@dataclass(frozen=True, slots=True)
class NameQuestion:
    """What a container wants to know: ``name`` in lower case, ``kind`` ``A``, ``AAAA``, ``PTR``, ``ANY`` or empty for
    any other type of record."""

    name: str
    kind: str


class NameVerdict(StrEnum):
    """What is to become of a question."""

    ANSWERED = "answered"
    """With what the answer holds; nothing of that type, when it holds nothing."""
    UNKNOWN = "unknown"
    """There is no such name."""
    FAILED = "failed"
    REFUSED = "refused"
    """Who asks has no business here."""
    FORWARD = "forward"


@dataclass(frozen=True, slots=True)
class NameAnswer:
    verdict: NameVerdict
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """For ``PTR``."""
    servers: tuple[str, ...] = ()
    """Where to forward to; empty: the host's own resolvers."""
    otherwise: NameVerdict = NameVerdict.FAILED
    """The verdict when none of the servers answers."""


class NameServers(Protocol):
    """DNS servers on addresses of this host, one for each network (UDP and TCP, port 53)."""

    async def serve(
        self,
        key: str,
        addresses: Sequence[str],
        answer: Callable[[str, NameQuestion], NameAnswer],
    ) -> None:
        """Answer there. Idempotent under the same key.

        Args:
            answer: never waits; told the asker's address and the question.

        Raises:
            Unavailable: port 53 of an address cannot be had; nothing is served then.
        """
        ...

    async def serve_inside(
        self, key: str, netns: Path, answer: Callable[[str, NameQuestion], NameAnswer]
    ) -> tuple[int, int]:
        """Answer on 127.0.0.11 in a container's own network namespace: its ports of UDP and TCP. For networks
        on which the host has no address. A server of that key which is there is replaced; ``answer`` is told
        the key for an address.

        Raises:
            Unavailable: the namespace is gone, or has no loopback.
        """
        ...

    def serves(self, key: str) -> bool: ...

    async def stop(self, key: str) -> None:
        """Idempotent."""
        ...


class UserResolver(Protocol):
    """Looks up users in a container's own files, inside its root (no escape by symlinks)."""

    async def resolve(self, rootfs: Path, user: User) -> tuple[int, int, tuple[int, ...]]:
        """(uid, gid, additional gids). Raises NotFound for an unknown user or group name."""
        ...


@dataclass(frozen=True, slots=True)
class RootMount:
    """A host path shown at a path of a root file system."""

    source: str
    target: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class RootView:
    """A container's file system from outside: its mounted root, and what else is mounted there.

    The mappings are those of its user namespace: archives have the container's ids. ``readonly`` is said of the root,
    not of the mounts.
    """

    rootfs: Path
    mounts: tuple[RootMount, ...] = ()
    readonly: bool = False
    uid_mappings: tuple[tuple[int, int, int], ...] = ()
    gid_mappings: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PathInfo:
    """A path in a container; ``mode`` with the type bits of stat(2). ``link_target`` is where a link leads to in the
    end, as a path inside; empty when it leads nowhere."""

    name: str
    size_bytes: int
    mode: int
    mtime_ns: int
    link_target: str = ""


@dataclass(frozen=True, slots=True)
class ExtractRules:
    """How an archive's entries meet what is there.

    ``owner``: (uid, gid) of all that is written, instead of the archive's. ``keep_types``: no folder in the place of
    something else, nor the other way round. ``root_entry``: whether the archive's own root (``./``) changes owner and
    mode of the folder extracted into. ``parent_owner``: of folders that are made because an entry needs them; ``None``:
    root's.
    """

    owner: tuple[int, int] | None = None
    keep_types: bool = False
    root_entry: bool = False
    parent_owner: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Files of a root that COPY or ADD take.

    ``sources``: paths below the root, with wildcards. ``exclude``: patterns as in ``.dockerignore``, for paths from
    each source. ``parents``: folders on the way are kept, from a ``/./`` on.
    ``probe``: sources that are archives are not taken, but told of. ``keep_owner``: owners are part of the content.
    """

    sources: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    parents: bool = False
    probe: bool = False
    keep_owner: bool = False


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What a selection holds. ``digest`` covers names, modes and content, no times. ``archives``: paths."""

    digest: str
    count: int
    """Sources, of which so many are folders:"""
    folders: int
    archives: tuple[str, ...]
    entries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a selection goes: ``target`` is a path, ``into`` says that it is a folder. ``chmod``: octal or as
    chmod(1) reads it; empty: modes stay."""

    target: str
    into: bool
    owner: tuple[int, int] | None = None
    chmod: str = ""


class RootArchiver(Protocol):
    """Files into and out of root file systems as tar, in worker processes that see that root and nothing else.

    Paths are the container's: links resolve inside. Nothing is left mounted, whatever happens.

    All methods raise:
        NotFound: kind ``path``. InvalidArgument: a path or an archive that makes no sense, or is hostile.
        ResourceExhausted: disk full, or beyond the bounds. PermissionDenied: read-only.
    """

    async def stat(self, view: RootView, path: str) -> PathInfo: ...

    def pack(
        self, view: RootView, path: str
    ) -> AbstractAsyncContextManager[tuple[PathInfo, AsyncIterator[bytes]]]:
        """A file or a folder with all below as a tar whose entries begin with the path's last part."""
        ...

    def export(self, view: RootView) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The whole root as a tar, names without a prefix."""
        ...

    async def extract(
        self, view: RootView, path: str, archive: AsyncIterator[bytes], rules: ExtractRules
    ) -> None:
        """Unpack a tar (plain, gzip, bzip2, xz or zstd) into the folder ``path``."""
        ...

    async def copy(self, rootfs: Path, path: str, target: Path) -> None:
        """A folder's content, with owner and mode of the folder itself, into the host folder ``target``."""
        ...

    async def survey(self, view: RootView, selection: Selection) -> Surveyed:
        """Raises NotFound for a source without wildcards that is not there."""
        ...

    def gather(
        self, view: RootView, selection: Selection, placement: Placement
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The selection as a tar whose names are those of the placement."""
        ...

    async def leave_out(self, folder: Path, patterns: Sequence[str]) -> None:
        """Remove files of a folder by patterns of ``.dockerignore``."""
        ...

    def cat(self, view: RootView, path: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a plain file, links followed inside the root."""
        ...


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that came over the network."""

    sha256: str
    """64 hex digits."""
    size_bytes: int
    content_type: str = ""


class Downloader(Protocol):
    """Files from HTTP servers."""

    async def fetch(self, url: str, target: Path, *, limit_bytes: int) -> Downloaded:
        """Write what a URL leads to (redirects followed) into a new file, with the server's time of it.

        Raises:
            NotFound: kind ``url``. Unavailable: naming the host. ResourceExhausted: the disk, or ``limit_bytes``.
            InvalidArgument: no URL of HTTP.
        """
        ...


@dataclass(frozen=True, slots=True)
class GitRemote:
    """A repository, what of it (a branch, tag or commit; empty: its default branch), and a folder in it.

    ``keep``: with the repository itself (``.git``), when it is no folder of it that is asked for.
    """

    url: str
    ref: str = ""
    folder: str = ""
    keep: bool = False


class GitRepositories(Protocol):
    """Remote git repositories."""

    async def checkout(self, remote: GitRemote, target: Path, *, timeout_s: float) -> None:
        """Files of one commit, submodules too, into an empty folder.

        Raises:
            Unavailable: in git's words. NotFound: kind ``git reference``. FailedPrecondition: git is not installed.
            DeadlineExceeded.
        """
        ...


class VolumeFolders(Protocol):
    """Folders of local volumes, and what is mounted on them. ``folder`` is a volume's own; containers see its data
    folder inside. Runs on threads; every call is idempotent."""

    def data(self, folder: Path) -> Path:
        """What containers see."""
        ...

    async def make(self, folder: Path) -> None:
        """Make it, below a folder that only root may enter."""
        ...

    async def mount(self, folder: Path, options: Mapping[str, str]) -> None:
        """Make it, and mount what ``options`` (``type``, ``device``, ``o``) name on its data folder.

        Raises:
            FailedPrecondition: with mount(8)'s words.
        """
        ...

    async def unmount(self, folder: Path) -> None: ...

    async def remove(self, folder: Path) -> None:
        """Unmount, and remove it with its data. Never crosses a mount."""
        ...

    async def names(self, root: Path) -> Sequence[str]:
        """What is in the folder of all volumes; nothing when it is missing."""
        ...

    async def usage(self, folder: Path) -> Usage: ...

    async def wants_copy(self, folder: Path, rootfs: Path, target: str, sub_path: str = "") -> bool:
        """Whether the volume, or its folder at ``sub_path``, is empty and ``target`` in ``rootfs`` is a folder that
        is not. Of an empty folder owner and mode are taken over at once. Ends a copy that was cut short after
        :meth:`finish_copy` began."""
        ...

    async def staging(self, folder: Path) -> Path:
        """A fresh folder to copy into; what an earlier life left there is removed."""
        ...

    async def finish_copy(self, folder: Path, sub_path: str = "") -> None:
        """Make what was staged the content of the volume, or of its folder at ``sub_path``, whole even across a
        crash."""
        ...


class CheckpointArchives(Protocol):
    """Tars that hold a container's checkpoint.

    All methods raise:
        NotFound: kind ``path``. InvalidArgument: no such archive, or a hostile one. ResourceExhausted: the disk.
    """

    async def write(self, folder: Path, target: Path) -> None:
        """Pack a folder's files. ``target`` is replaced when all is on disk, and is root's alone."""
        ...

    def file(self, path: Path) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]:
        """A new file of a folder that shall be packed, as what takes its bytes."""
        ...

    async def documents(self, archive: Path, names: Collection[str]) -> Mapping[str, bytes]:
        """Small files of an archive, all of which must be there."""
        ...

    async def extract(
        self, archive: Path, folder: Path, files: Collection[str], folders: Collection[str]
    ) -> None:
        """Unpack the named files, and those that lie right in one of ``folders``; others are passed over."""
        ...


class HostFiles(Protocol):
    """Small files, folders and plain mounts of ours. Runs on threads; every call is idempotent."""

    async def write(self, folder: Path, files: Mapping[str, bytes], *, mode: int = 0o644) -> None:
        """Make the folder (0711) and write each file atomically."""
        ...

    async def read(self, path: Path) -> bytes:
        """A whole small file; nothing when it is missing."""
        ...

    async def make_folder(
        self, path: Path, *, mode: int = 0o755, owner: tuple[int, int] | None = None
    ) -> None:
        """With its parents. ``owner``: (uid, gid) of the folder itself, where it is to be another's."""
        ...

    async def remove_tree(self, path: Path) -> None:
        """Unmount what is mounted below, then remove. Never follows a link, never crosses a mount."""
        ...

    async def names(self, folder: Path) -> Sequence[str]:
        """What is in a folder; nothing when it is missing."""
        ...

    async def mount_tmpfs(self, path: Path, *, size_bytes: int, mode: int = 0o1777) -> None: ...

    async def bind(self, source: Path, target: Path, *, readonly: bool = False) -> None:
        """Bind a file or folder on ``target``, which is made when missing."""
        ...

    async def bind_in_root(
        self, root: Path, path: str, target: Path, *, beneath: bool = False
    ) -> None:
        """Bind what ``path`` names inside the folder ``root``, links resolved there, on ``target``, which is made.

        Args:
            beneath: a link that leads out of the folder is refused, instead of leading inside as if that were ``/``.

        Raises:
            NotFound: kind ``path``. InvalidArgument: kind ``path``, for such a link.
        """
        ...

    async def unmount(self, path: Path) -> None: ...

    async def exists(self, path: Path) -> bool: ...

    async def rename(self, source: Path, target: Path) -> None: ...
