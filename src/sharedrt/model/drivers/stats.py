"""What a container uses, as the kernel tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
