"""What a container is asked to be, in neutral words: neither CRI's nor Docker's.

An edge translates its request into a :class:`ContainerSpec`; ``drivers/oci`` renders the spec, the image's
configuration and the host's abilities into an OCI ``config.json``. All of it serializes to JSON
(``model/codec.py``), since it is stored with the container.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class NamespaceMode(StrEnum):
    """Where a Linux namespace of a container comes from."""

    PRIVATE = "private"
    """A new one of its own."""
    HOST = "host"
    SANDBOX = "sandbox"
    """The pod's (CRI's POD)."""
    CONTAINER = "container"
    """Another container's; ``NamespaceRef.target`` is its id."""
    PATH = "path"
    """One pinned at ``NamespaceRef.target`` (a bind-mounted nsfs file)."""


@dataclass(frozen=True, slots=True)
class NamespaceRef:
    """One Linux namespace's origin; ``target`` is a container id or a path, as ``mode`` says."""

    mode: NamespaceMode = NamespaceMode.PRIVATE
    target: str = ""


@dataclass(frozen=True, slots=True)
class IdMapping:
    """One range of a user-namespace mapping (OCI runtime spec, ``uidMappings``)."""

    container_id: int
    host_id: int
    size: int


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The six namespaces a container may share. The mount namespace is always its own."""

    network: NamespaceRef = NamespaceRef()
    pid: NamespaceRef = NamespaceRef()
    ipc: NamespaceRef = NamespaceRef()
    uts: NamespaceRef = NamespaceRef()
    cgroup: NamespaceRef = NamespaceRef()
    user: NamespaceRef = NamespaceRef(NamespaceMode.HOST)
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """Who the process runs as.

    ``name`` is the image's or Docker's text form (``user``, ``uid``, ``user:group``, ``uid:gid``); ``uid`` and
    ``gid`` when given win over it. Names are resolved in the container's own ``/etc/passwd`` and
    ``/etc/group``. With ``merge_image_groups`` the groups of that user in ``/etc/group`` are added
    to ``additional_gids`` (CRI's policy Merge; Strict leaves them out).
    """

    name: str = ""
    uid: int | None = None
    gid: int | None = None
    additional_gids: tuple[int, ...] = ()
    additional_groups: tuple[str, ...] = ()
    merge_image_groups: bool = True


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Changes to the default capability set, names without or with ``CAP_``; ``ALL`` stands for every one."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class SeccompKind(StrEnum):
    """Which seccomp profile a container gets."""

    DEFAULT = "default"
    UNCONFINED = "unconfined"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Seccomp:
    """``profile_json`` holds the whole profile (Docker's and the kubelet's JSON form) for ``PROFILE``."""

    kind: SeccompKind = SeccompKind.DEFAULT
    profile_json: str = ""


@dataclass(frozen=True, slots=True)
class Security:
    """Confinement of the process."""

    privileged: bool = False
    no_new_privileges: bool = False
    capabilities: Capabilities = Capabilities()
    seccomp: Seccomp = Seccomp()
    apparmor_profile: str = ""
    """Empty: the host's default where AppArmor is enabled; ``unconfined``: none."""
    selinux_process_label: str = ""
    selinux_mount_label: str = ""
    masked_paths: tuple[str, ...] | None = None
    """``None``: the runtime's defaults."""
    readonly_paths: tuple[str, ...] | None = None
    readonly_rootfs: bool = False
    writable_cgroups: bool | None = None
    """Whether the container may make cgroups below its own; ``None``: when it is privileged."""


class MountKind(StrEnum):
    """What a mount brings into the container."""

    BIND = "bind"
    TMPFS = "tmpfs"
    IMAGE = "image"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount asked for by the client.

    ``source`` is a host path (bind), a volume name (volume), an image reference (image) or empty
    (tmpfs). ``propagation`` is one of ``private rprivate slave rslave shared rshared`` or empty for the
    default, rprivate. With ``propagation_default`` it is nobody's wish: where the source lies on no mount that can
    give it, the mount is private instead.
    """

    kind: MountKind
    source: str
    target: str
    readonly: bool = False
    recursive_readonly: bool = False
    propagation: str = ""
    propagation_default: bool = False
    options: tuple[str, ...] = ()
    """Further mount options, such as ``size=64m`` and ``mode=1777`` of a tmpfs."""
    create_source: bool = False
    """Make a missing host folder (Docker's ``-v``), instead of refusing the start."""
    nocopy: bool = False
    sub_path: str = ""
    selinux_relabel: str = ""
    """Empty, ``shared`` (z) or ``private`` (Z)."""
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    image_id: str = ""
    """Of an image mount, since the container was created: the image that its source was then."""


@dataclass(frozen=True, slots=True)
class Device:
    """A host device shown in the container; ``permissions`` out of ``rwm``."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """A device cgroup rule without a node: ``kind`` is ``a``, ``b`` or ``c``; ``None`` stands for ``*``."""

    kind: str
    major: int | None
    minor: int | None
    permissions: str
    allow: bool = True


@dataclass(frozen=True, slots=True)
class BlkioLimit:
    """A block device's weight or rate; ``path`` is the device's node."""

    path: str
    value: int


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits and shares (OCI runtime spec, ``linux.resources``); ``None``: not asked for.

    Memory figures are bytes, ``memory_swap_bytes`` is memory plus swap (-1: no limit), CPU times are
    microseconds.
    """

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    memory_reservation_bytes: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    cpu_shares: int | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    cpu_realtime_period_us: int | None = None
    cpu_realtime_runtime_us: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    blkio_weight: int | None = None
    blkio_weight_device: tuple[BlkioLimit, ...] = ()
    blkio_read_bps: tuple[BlkioLimit, ...] = ()
    blkio_write_bps: tuple[BlkioLimit, ...] = ()
    blkio_read_iops: tuple[BlkioLimit, ...] = ()
    blkio_write_iops: tuple[BlkioLimit, ...] = ()
    hugepage_limits: Mapping[str, int] = field(default_factory=dict)
    """Page size as the kernel names it (``2MB``) to bytes."""
    unified: Mapping[str, str] = field(default_factory=dict)
    """cgroup v2 file names to values, written as they are."""


@dataclass(frozen=True, slots=True)
class Rlimit:
    """``name`` without ``RLIMIT_``, lower case: ``nofile``, ``nproc`` ..."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """Of an image's configuration, what a process takes from it."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A command that is run in the container now and then, and tells by its exit code whether all is well.

    Until ``start_period_s`` is over a failure counts for nothing, and checks come every ``start_interval_s``.
    """

    args: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    start_period_s: float = 0.0
    start_interval_s: float = 5.0
    retries: int = 3
    """So many failures in a row make it unhealthy."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container as asked for. The image's own defaults fill what is ``None``.

    ``command`` replaces the image's Entrypoint, ``args`` its Cmd, as CRI's ``command`` and ``args`` and Docker's
    ``Entrypoint`` and ``Cmd`` do; a replaced entrypoint drops the image's Cmd.
    """

    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    """``KEY=value``, over the image's; a bare ``KEY`` removes the image's."""
    cwd: str = ""
    user: User = User()
    tty: bool = False
    console_size: tuple[int, int] | None = None
    """(width, height) that its terminal begins with."""
    open_stdin: bool = False
    stdin_once: bool = False
    hostname: str = ""
    domainname: str = ""
    namespaces: Namespaces = Namespaces()
    security: Security = Security()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    device_rules: tuple[DeviceRule, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    resources: Resources = Resources()
    rlimits: tuple[Rlimit, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    oom_score_adj: int | None = None
    cgroup_parent: str = ""
    init: bool = False
    """Run catatonit as the first process, which starts and reaps the rest."""
    shm_size_bytes: int | None = None
    shm_shared: bool = False
    """Its /dev/shm can be joined by containers that share its IPC namespace."""
    shm_none: bool = False
    """There is no /dev/shm."""
    stop_signal: str = ""
    health_check: HealthCheck | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    restored: bool = False
    """Its processes come out of the checkpoint that was unpacked when it was created."""
