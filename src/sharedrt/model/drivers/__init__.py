"""What services need of the host: one Protocol per driver. Implemented in ``sharedrt.drivers``.

A driver does one mechanism, knows no other driver and no policy, and raises faults. Every step that
changes the world is idempotent: doing it twice is harmless, undoing what is not there is success.
"""

from sharedrt.model.drivers.bridges import BridgeConfig, BridgeNetwork, EndpointConfig, ParentConfig
from sharedrt.model.drivers.content import ContentStore, Ingest
from sharedrt.model.drivers.host import CheckpointArchives, HostFiles, VolumeFolders
from sharedrt.model.drivers.layers import LayerResult, LayerUnpacker
from sharedrt.model.drivers.logs import (
    ForwardTarget,
    LogBounds,
    LogForwarder,
    LogLine,
    LogQuery,
    LogReader,
    LogRotator,
    LogSink,
)
from sharedrt.model.drivers.names import NameAnswer, NameQuestion, NameServers, NameVerdict
from sharedrt.model.drivers.oci import (
    BundleRequest,
    ExecResult,
    ExitStatus,
    OciRuntime,
    ProcessIdentity,
    ResolvedMount,
)
from sharedrt.model.drivers.registry import (
    ConfiguredRegistries,
    Credentials,
    FoundRepository,
    Registry,
    RegistryView,
    Repository,
)
from sharedrt.model.drivers.roots import (
    ExtractRules,
    PathInfo,
    Placement,
    RootArchiver,
    RootMount,
    RootView,
    Selection,
    Surveyed,
    UserResolver,
)
from sharedrt.model.drivers.sandboxes import (
    CniNetwork,
    CniRequest,
    CniResult,
    PodCgroups,
    SandboxNamespaces,
)
from sharedrt.model.drivers.snapshots import ChangeKind, PathChange, Snapshotter, Usage
from sharedrt.model.drivers.sources import (
    Download,
    Downloaded,
    Downloader,
    GitRemote,
    GitRepositories,
)
from sharedrt.model.drivers.stats import (
    BlkioEntry,
    CgroupDetails,
    CgroupStats,
    ContainerDetails,
    CpuStats,
    FileSystemStats,
    HugetlbStats,
    MemoryStats,
    NetworkStats,
    PressureStats,
    ProcessFigures,
)

__all__ = [
    "BlkioEntry",
    "BridgeConfig",
    "BridgeNetwork",
    "BundleRequest",
    "CgroupDetails",
    "CgroupStats",
    "ChangeKind",
    "CheckpointArchives",
    "CniNetwork",
    "CniRequest",
    "CniResult",
    "ConfiguredRegistries",
    "ContainerDetails",
    "ContentStore",
    "CpuStats",
    "Credentials",
    "Download",
    "Downloaded",
    "Downloader",
    "EndpointConfig",
    "ExecResult",
    "ExitStatus",
    "ExtractRules",
    "FileSystemStats",
    "ForwardTarget",
    "FoundRepository",
    "GitRemote",
    "GitRepositories",
    "HostFiles",
    "HugetlbStats",
    "Ingest",
    "LayerResult",
    "LayerUnpacker",
    "LogBounds",
    "LogForwarder",
    "LogLine",
    "LogQuery",
    "LogReader",
    "LogRotator",
    "LogSink",
    "MemoryStats",
    "NameAnswer",
    "NameQuestion",
    "NameServers",
    "NameVerdict",
    "NetworkStats",
    "OciRuntime",
    "ParentConfig",
    "PathChange",
    "PathInfo",
    "Placement",
    "PodCgroups",
    "PressureStats",
    "ProcessFigures",
    "ProcessIdentity",
    "Registry",
    "RegistryView",
    "Repository",
    "ResolvedMount",
    "RootArchiver",
    "RootMount",
    "RootView",
    "SandboxNamespaces",
    "Selection",
    "Snapshotter",
    "Surveyed",
    "Usage",
    "UserResolver",
    "VolumeFolders",
]
