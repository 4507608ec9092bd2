"""What the services of a namespace are built from: this host's mechanisms, and the settings."""

from dataclasses import dataclass
from pathlib import Path

from sharedrt.model.drivers import (
    BridgeNetwork,
    CheckpointArchives,
    CniNetwork,
    ContentStore,
    Downloader,
    GitRepositories,
    HostFiles,
    LayerUnpacker,
    LogForwarder,
    LogReader,
    LogRotator,
    NameServers,
    OciRuntime,
    PodCgroups,
    Registry,
    RootArchiver,
    SandboxNamespaces,
    Snapshotter,
    UserResolver,
    VolumeFolders,
)
from sharedrt.model.stores import Database
from sharedrt.services.networks import NetworkSettings


@dataclass(frozen=True, slots=True)
class Drivers:
    """The mechanisms of this host, built by ``daemon.py``."""

    database: Database
    content: ContentStore
    snapshotter: Snapshotter
    unpacker: LayerUnpacker
    archiver: RootArchiver
    volumes: VolumeFolders
    users: UserResolver
    registry: Registry
    oci: OciRuntime
    host: HostFiles
    namespaces: SandboxNamespaces
    cgroups: PodCgroups
    bridge: BridgeNetwork
    name_servers: NameServers
    cni: CniNetwork
    logs: LogReader
    checkpoints: CheckpointArchives
    log_rotator: LogRotator
    log_forwarder: LogForwarder
    downloader: Downloader
    git: GitRepositories


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """What services need of the configuration."""

    state_dir: Path
    run_dir: Path
    cgroup_root: str
    systemd_cgroups: bool
    catatonit: str
    boot_id: str
    platform: str
    networks: NetworkSettings
    max_downloads: int
    max_uploads: int
    image_bytes_max: int
    build_cache_bytes_max: int = 20 << 30
    build_cache_days_max: int = 30
