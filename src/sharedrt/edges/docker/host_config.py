"""A HostConfig with all its fields, as ``inspect`` shows it: the client's over dockerd's defaults."""

from collections.abc import Mapping
from typing import Final

from sharedrt.model.records import Json

DEFAULT_SHM_BYTES: Final = 64 << 20

MASKED_PATHS: Final = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
"""In the order that dockerd shows them in."""
READONLY_PATHS: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)

_DEFAULTS: Final[Mapping[str, Json]] = {
    "Binds": None,
    "ContainerIDFile": "",
    "LogConfig": {"Type": "json-file", "Config": {}},
    "NetworkMode": "bridge",
    "PortBindings": {},
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "AutoRemove": False,
    "VolumeDriver": "",
    "VolumesFrom": None,
    "ConsoleSize": [0, 0],
    "CapAdd": None,
    "CapDrop": None,
    "CgroupnsMode": "private",
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "IpcMode": "private",
    "Cgroup": "",
    "Links": None,
    "OomScoreAdj": 0,
    "PidMode": "",
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": False,
    "SecurityOpt": None,
    "UTSMode": "",
    "UsernsMode": "",
    "ShmSize": DEFAULT_SHM_BYTES,
    "Runtime": "",
    "Isolation": "",
    "CpuShares": 0,
    "Memory": 0,
    "NanoCpus": 0,
    "CgroupParent": "",
    "BlkioWeight": 0,
    "BlkioWeightDevice": [],
    "BlkioDeviceReadBps": [],
    "BlkioDeviceWriteBps": [],
    "BlkioDeviceReadIOps": [],
    "BlkioDeviceWriteIOps": [],
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "Devices": [],
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemoryReservation": 0,
    "MemorySwap": 0,
    "MemorySwappiness": None,
    "OomKillDisable": None,
    "PidsLimit": None,
    "Ulimits": None,
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
    "MaskedPaths": None,
    "ReadonlyPaths": None,
}
_SHOWN_WHEN_SET: Final = ("Mounts", "Tmpfs", "Sysctls", "StorageOpt", "Annotations", "Init")


def complete_host_config(given: Mapping[str, Json], settled: Mapping[str, Json]) -> dict[str, Json]:
    """All fields of a HostConfig.

    Args:
        given: the client's, in its own spelling of names.
        settled: what the daemon has decided (modes, the runtime, swap ...), over the client's.
    """
    folded = {name.lower(): value for name, value in given.items() if value is not None}
    complete = {name: folded.get(name.lower(), default) for name, default in _DEFAULTS.items()}
    for name in _SHOWN_WHEN_SET:
        if value := folded.get(name.lower()):
            complete[name] = value
    if "init" in folded:
        complete["Init"] = folded["init"]
    complete.update(settled)
    complete["ShmSize"] = complete["ShmSize"] or DEFAULT_SHM_BYTES
    if not complete["Privileged"]:
        if complete["MaskedPaths"] is None:
            complete["MaskedPaths"] = list(MASKED_PATHS)
        if complete["ReadonlyPaths"] is None:
            complete["ReadonlyPaths"] = list(READONLY_PATHS)
    return complete
