"""What the store keeps: immutable records, replaced whole with ``dataclasses.replace``.

No record names its namespace: the store that holds it is bound to one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from sharedrt.model.ids import (
    ContainerId,
    Digest,
    EndpointId,
    ExecId,
    LeaseId,
    Namespace,
    NetworkId,
    OperationId,
    SandboxId,
    SnapshotKey,
)
from sharedrt.model.spec import ContainerSpec, ImageDefaults, Resources, Security

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of a sandbox or container published on the host. ``protocol``: ``tcp``, ``udp`` or ``sctp``."""

    protocol: str
    container_port: int
    host_port: int
    """Of a request, 0: any free one."""
    host_ip: str = ""
    host_port_last: int = 0
    """Of a request that is not 0: any free one from ``host_port`` to this one."""
    direct: bool = False
    """Without NAT: the port is reached at the container's own address, and takes none of the host's. ``host_port`` is
    what was asked for."""


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """What resolv.conf is to hold; all empty: the host's own."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """One network that a container of its own (not of a pod) shall join at its start."""

    network: str
    """Name or id."""
    aliases: tuple[str, ...] = ()
    address: str = ""
    address6: str = ""
    mac: str = ""
    links: tuple[str, ...] = ()
    """``container:alias`` each: further names by which this container alone finds another one there."""
    priority: int = 0
    """The network of the highest is the way to the world and has the published ports; then the first."""
    interface: str = ""
    """Its name inside; empty: ``eth0`` and so on."""
    sysctls: tuple[str, ...] = ()
    """``NAME=VALUE`` each, with ``IFNAME`` for the interface: ``net.ipv4.conf.IFNAME.log_martians=1``."""
    foreign_options: tuple[tuple[str, str], ...] = ()
    """Options that are no driver's of ours: kept for those who set them, and shown."""
    link_local: tuple[str, ...] = ()
    """Further addresses of the interface, of no subnet of the network's and leased by nobody."""


class ContainerState(StrEnum):
    """Where a container is in its life. Paused is a running container's freezer state, kept apart."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"
    """It was running, and neither its process nor its exit status can be found."""


class LogTransport(StrEnum):
    """How log lines go to another program of the host's."""

    JOURNALD = "journald"
    SYSLOG = "syslog"


@dataclass(frozen=True, slots=True)
class SyslogTls:
    """Files on the host, each may be empty: authorities that are trusted beside the host's own, and what we show."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class LogForward:
    """Where else a container's log lines go, beside the log that we keep ourselves."""

    transport: LogTransport
    tag: str
    """Template of :mod:`sharedrt.wire.log_tag`."""
    address: str = ""
    """syslog's: ``unixgram:///path``, ``unix:///path``, ``udp://host:port``, ``tcp://host:port``,
    ``tcp+tls://host:port``; empty: the host's own socket."""
    facility: int = 3
    """syslog's number; 3: daemon."""
    format: str = ""
    """syslog's: empty, ``rfc3164``, ``rfc5424`` or ``rfc5424micro``."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Further facts for the journal: the labels and variables that were chosen."""
    tls: SyslogTls = SyslogTls()
    """Of ``tcp+tls``."""


class HealthStatus(StrEnum):
    """What a container's checks say."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class HealthResult:
    """One run of a health check. ``exit_code`` -1: it did not come to its end."""

    started_ns: int
    ended_ns: int
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    """A container's health, with its last few results, the oldest first."""

    status: HealthStatus = HealthStatus.STARTING
    failing_streak: int = 0
    results: tuple[HealthResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as the database keeps it.

    ``extensions`` holds what only the edge that made it understands (Docker's HostConfig, CRI's
    metadata ...), by the edge's name; services carry it and never look inside.
    """

    id: ContainerId
    name: str
    image_reference: str
    """As the client gave it."""
    image_id: Digest
    """Digest of the image's configuration, which names the image everywhere in Docker and CRI."""
    spec: ContainerSpec
    sandbox_id: SandboxId | None = None
    runtime_handler: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Json] = field(default_factory=dict)
    image_defaults: ImageDefaults = ImageDefaults()
    networks: tuple[NetworkRequest, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    dns: DnsConfig = DnsConfig()
    exposed_ports: tuple[str, ...] = ()
    """``80/tcp``: where it says that it listens, whether published or not."""
    extra_hosts: tuple[str, ...] = ()
    """``name:address`` lines for /etc/hosts."""
    snapshot_key: SnapshotKey | None = None
    log_path: str = ""
    """Host path of the CRI-format log; empty: no log is kept."""
    log_max_bytes: int = 0
    """Beyond this many bytes the log is begun anew; 0: no bound."""
    log_max_files: int = 1
    """Of that many files the log consists then; 1: what was before is lost."""
    log_compress: bool = False
    log_forward: LogForward | None = None
    auto_remove: bool = False
    restart_policy: str = "no"
    """``no``, ``always``, ``unless-stopped`` or ``on-failure``."""
    restart_max_retries: int = 0
    restart_count: int = 0
    stopped_by_client: bool = False
    """A client stopped it, so that ``unless-stopped`` and ``always`` hold off until the next start."""
    state: ContainerState = ContainerState.CREATED
    paused: bool = False
    pid: int = 0
    pid_start_ticks: int = 0
    """``starttime`` of /proc/PID/stat, so that a reused pid is not taken for the container."""
    created_ns: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    exit_code: int = 0
    reason: str = ""
    """CRI's word: Completed, Error, OOMKilled, StartError, ContainerCannotRun."""
    message: str = ""
    oom_killed: bool = False
    health: Health | None = None
    """``None`` until the first start of a container that has a check."""
    boot_id: str = ""
    """/proc/sys/kernel/random/boot_id of the boot that it last ran in."""


class SandboxState(StrEnum):
    """A pod's sandbox is ready until it is stopped, or the host has rebooted under it."""

    READY = "ready"
    NOT_READY = "not_ready"


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A pod sandbox as asked for, in neutral words. Namespace modes: ``sandbox`` means the pod's own."""

    hostname: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_pid: bool = False
    """All containers of the pod share one PID namespace, with catatonit as its first process."""
    dns: DnsConfig = DnsConfig()
    port_mappings: tuple[PortMapping, ...] = ()
    cgroup_parent: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    log_directory: str = ""
    overhead: Resources = Resources()
    resources: Resources = Resources()
    security: Security = Security()
    user_mappings: tuple[tuple[int, int, int], ...] = ()
    """(container id, host id, size); empty: no user namespace."""
    group_mappings: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """A pod's sandbox as the database keeps it. (name, uid, pod_namespace, attempt) is unique."""

    id: SandboxId
    name: str
    uid: str
    pod_namespace: str
    attempt: int
    spec: SandboxSpec
    runtime_handler: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Json] = field(default_factory=dict)
    state: SandboxState = SandboxState.NOT_READY
    netns_path: str = ""
    ipcns_path: str = ""
    utsns_path: str = ""
    userns_path: str = ""
    pause_pid: int = 0
    """catatonit's pid where the pod shares its PID namespace; else 0."""
    pause_start_ticks: int = 0
    addresses: tuple[str, ...] = ()
    """IP addresses without prefix length, the primary one first."""
    cni_result: Json = None
    """The last CNI result, needed again for DEL; null when the built-in bridge served."""
    network_torn_down: bool = False
    created_ns: int = 0
    boot_id: str = ""
    """/proc/sys/kernel/random/boot_id of the boot that made it."""

    @property
    def namespace_paths(self) -> dict[str, str]:
        """Of the namespaces that are its own, by the OCI runtime spec's names of their types."""
        pins = {
            "network": self.netns_path,
            "ipc": self.ipcns_path,
            "uts": self.utsns_path,
            "user": self.userns_path,
        }
        return {kind: path for kind, path in pins.items() if path}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """OCI image spec, "Content Descriptors"."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    """``os/architecture[/variant]`` or empty."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A name for an image: reference to the target (index or manifest) it stands for."""

    reference: str
    """Normalized and full: ``docker.io/library/busybox:latest`` or ``...@sha256:...``."""
    target: Descriptor
    image_id: Digest
    """Digest of the platform's image configuration."""
    manifest: Digest
    """Digest of the platform's manifest; equals target.digest unless the target is an index."""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ns: int = 0
    updated_ns: int = 0
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """A blob in the content store, global by digest; ``labels`` are those of the asking namespace."""

    digest: Digest
    size: int
    media_type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ns: int = 0
    updated_ns: int = 0


class SnapshotKind(StrEnum):
    """containerd's kinds: committed layers are parents, active ones are writable, views read-only."""

    COMMITTED = "committed"
    ACTIVE = "active"
    VIEW = "view"


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """One overlayfs layer. ``directory`` is the folder's name, a function of (namespace, key) or, for a
    committed layer, of its chain id alone, since layers are shared on disk between namespaces."""

    key: SnapshotKey
    kind: SnapshotKind
    parent: SnapshotKey | None
    directory: str
    size_bytes: int = 0
    inodes: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ns: int = 0


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """Holds content and snapshots against garbage collection until it ends."""

    id: LeaseId
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: tuple[tuple[str, str], ...] = ()
    """(type, id) as containerd names them: ("content", "sha256:..."), ("snapshots/overlayfs", key)."""
    created_ns: int = 0
    expires_ns: int = 0
    """0: never."""


@dataclass(frozen=True, slots=True)
class ExecRecord:
    """A process started, or to be started, inside a running container."""

    id: ExecId
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
    """(width, height) that its terminal begins with."""
    pid: int = 0
    running: bool = False
    exit_code: int | None = None
    created_ns: int = 0


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """A network of a namespace. ``driver``: ``bridge``, ``macvlan``, ``ipvlan``, ``host``, ``none``."""

    id: NetworkId
    name: str
    driver: str
    bridge: str = ""
    """The host's interface name."""
    subnets: tuple[str, ...] = ()
    """CIDR, the IPv4 one first."""
    gateways: tuple[str, ...] = ()
    """One address per subnet, the bridge's own."""
    ranges: tuple[str, ...] = ()
    """One CIDR per subnet inside which addresses are chosen; empty: the whole subnet."""
    reserved: Mapping[str, str] = field(default_factory=dict)
    """Addresses that are never leased, by the client's name for each (Docker's auxiliary addresses)."""
    internal: bool = False
    attachable: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    ipam_options: Mapping[str, str] | None = None
    """As the client gave them: nobody reads them. ``None``: it gave none, not even an empty list."""
    labels: Mapping[str, str] = field(default_factory=dict)
    config_only: bool = False
    """A configuration that other networks are made from: no container joins it, and nothing of it is on the host.
    Its driver is ``none``, and a subnet, gateway or range that is empty is each network's own choice."""
    config_from: str = ""
    """Name of the configuration that it was made from."""
    families: tuple[int, ...] = ()
    """Of a configuration: 4, 6, both or none."""
    extensions: Mapping[str, Json] = field(default_factory=dict)
    created_ns: int = 0


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """A container's or sandbox's place on a network: its lease of addresses, and its published ports.

    (network, address) is unique in the database, so that two can never hold one address; (protocol,
    host address, host port) of live published ports is unique over all namespaces.
    """

    id: EndpointId
    network_id: NetworkId
    owner: str
    """The container's or sandbox's id."""
    interface: str = "eth0"
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """CIDR, the prefix being the subnet's; the IPv4 one first."""
    ports: tuple[PortMapping, ...] = ()
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """``container:alias`` each, see :class:`NetworkRequest`."""
    priority: int = 0
    netns: str = ""
    """Path of the network namespace that it is plugged into, needed again after a restart."""
    default_route: bool = False
    """Its network's gateway is the way to the world."""
    ingress_bps: int = 0
    """Bits a second towards the container; 0: no bound."""
    egress_bps: int = 0
    sysctls: tuple[str, ...] = ()
    """See :class:`NetworkRequest`."""
    link_local: tuple[str, ...] = ()
    extensions: Mapping[str, Json] = field(default_factory=dict)
    created_ns: int = 0


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A named volume of the local driver."""

    name: str
    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False
    created_ns: int = 0


@dataclass(frozen=True, slots=True)
class BuildStepRecord:
    """What a build's instruction made, to be used again by later builds.

    ``key`` is a digest of all that it came of. ``config`` is the image configuration after it, as JSON text: its
    digest is the id that the step was shown with. ``layers`` are all of that image, the base layer first.
    """

    key: str
    config: str
    snapshot_key: SnapshotKey | None
    """The topmost layer's."""
    layers: tuple[Descriptor, ...]
    description: str
    """The instruction, as the image's history has it."""
    parent: str = ""
    """The key of the step before; empty for the first of a stage."""
    size_bytes: int = 0
    """Of the layer that this step added."""
    created_ns: int = 0
    last_used_ns: int = 0
    uses: int = 0


@dataclass(frozen=True, slots=True)
class BuildCacheRecord:
    """A folder that ``RUN --mount=type=cache`` keeps between builds. ``id``: the folder's name, a digest."""

    id: str
    name: str
    """As the Dockerfile calls it, or its target."""
    created_ns: int = 0
    last_used_ns: int = 0
    uses: int = 0


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened, after it was committed.

    ``kind`` and ``action`` are Docker's words where Docker has them (``container``/``start``), and containerd's
    topics are derived from them at that edge.
    """

    sequence: int
    time_ns: int
    kind: str
    action: str
    actor: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """An intent, written before the first step and removed with the last one's commit.

    ``kind`` says what recovery has to do (``sandbox.run``, ``container.create`` ...); ``subject`` is the id it
    is about, from which every name it makes in the world is derived.
    """

    id: OperationId
    kind: str
    subject: str
    detail: Json = None
    created_ns: int = 0


@dataclass(frozen=True, slots=True)
class NamespaceRecord:
    """A namespace itself (global table). ``policy`` and ``quota`` are read by services/tenancy."""

    name: Namespace
    labels: Mapping[str, str] = field(default_factory=dict)
    policy: Mapping[str, Json] = field(default_factory=dict)
    quota: Mapping[str, Json] = field(default_factory=dict)
    created_ns: int = 0
