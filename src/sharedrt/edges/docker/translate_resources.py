"""``Resources`` of a HostConfig or of an update: limits, devices, ulimits."""

import posixpath
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.words import bad_request, not_implemented
from sharedrt.model.records import Json
from sharedrt.model.spec import BlkioLimit, Device, DeviceRule, Resources, Rlimit
from sharedrt.wire.go_numbers import MAX_INT64, parse_digits

MIN_MEMORY: Final = 6 << 20
CPU_PERIOD_US: Final = 100_000

_REFUSED: Final = (
    "KernelMemory",
    "KernelMemoryTCP",
    "CpuCount",
    "CpuPercent",
    "IOMaximumIOps",
    "IOMaximumBandwidth",
)


def translate_resources(host: Fields, cpus: int) -> Resources:
    """Docker's numbers, where 0 means not asked for.

    Args:
        cpus: how many the host has.

    Raises:
        Refusal: 400 in dockerd's words for figures that make no sense together, 501 for Windows' own.
    """
    for name in _REFUSED:
        if host.integer(name):
            raise not_implemented(f"HostConfig.{name}")
    _check_memory(host)
    quota, period = _cpu(host, cpus)
    swappiness = host.optional_integer("MemorySwappiness")
    pids = host.optional_integer("PidsLimit")
    return Resources(
        memory_bytes=host.integer("Memory") or None,
        memory_swap_bytes=memory_swap(host),
        memory_reservation_bytes=host.integer("MemoryReservation") or None,
        memory_swappiness=None if swappiness in (None, -1) else swappiness,
        oom_kill_disable=host.optional_boolean("OomKillDisable") or None,
        cpu_shares=host.integer("CpuShares") or None,
        cpu_quota_us=quota or None,
        cpu_period_us=period or None,
        cpu_realtime_period_us=host.integer("CpuRealtimePeriod") or None,
        cpu_realtime_runtime_us=host.integer("CpuRealtimeRuntime") or None,
        cpuset_cpus=host.text("CpusetCpus") or None,
        cpuset_mems=host.text("CpusetMems") or None,
        pids_limit=pids if pids and pids > 0 else None,
        blkio_weight=_blkio_weight(host),
        blkio_weight_device=_limits(host, "BlkioWeightDevice", "Weight"),
        blkio_read_bps=_limits(host, "BlkioDeviceReadBps", "Rate"),
        blkio_write_bps=_limits(host, "BlkioDeviceWriteBps", "Rate"),
        blkio_read_iops=_limits(host, "BlkioDeviceReadIOps", "Rate"),
        blkio_write_iops=_limits(host, "BlkioDeviceWriteIOps", "Rate"),
    )


def memory_swap(host: Fields) -> int | None:
    """Memory plus swap: twice the memory unless said otherwise."""
    memory, swap = host.integer("Memory"), host.integer("MemorySwap")
    if swap:
        return swap
    return memory * 2 or None


def _check_memory(host: Fields) -> None:
    memory, swap = host.integer("Memory"), host.integer("MemorySwap")
    reservation = host.integer("MemoryReservation")
    if 0 < memory < MIN_MEMORY or memory < 0:
        raise bad_request("Minimum memory limit allowed is 6MB")
    if memory and 0 < swap < memory:
        raise bad_request("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise bad_request(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < reservation < MIN_MEMORY:
        raise bad_request("Minimum memory reservation allowed is 6MB")
    if memory and reservation > memory:
        raise bad_request(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    swappiness = host.optional_integer("MemorySwappiness")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise bad_request(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")


def _cpu(host: Fields, cpus: int) -> tuple[int, int]:
    nano, period, quota = (
        host.integer("NanoCpus"),
        host.integer("CpuPeriod"),
        host.integer("CpuQuota"),
    )
    if nano:
        if period:
            raise bad_request("Conflicting options: Nano CPUs and CPU Period cannot both be set.")
        if quota:
            raise bad_request("Conflicting options: Nano CPUs and CPU Quota cannot both be set.")
        if nano < 10_000_000 or nano > cpus * 1_000_000_000:
            raise bad_request(
                f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
            )
        return nano * CPU_PERIOD_US // 1_000_000_000, CPU_PERIOD_US
    if period and not 1000 <= period <= 1_000_000:
        raise bad_request(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise bad_request("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.integer("CpuShares") < 0:
        raise bad_request(
            f"invalid CPU shares ({host.integer('CpuShares')}): value must be a positive integer"
        )
    return quota, period


def _blkio_weight(host: Fields) -> int | None:
    weight = host.integer("BlkioWeight")
    if weight and not 10 <= weight <= 1000:
        raise bad_request("Range of blkio weight is from 10 to 1000")
    return weight or None


def _limits(host: Fields, name: str, value: str) -> tuple[BlkioLimit, ...]:
    return tuple(BlkioLimit(item.text("Path"), item.integer(value)) for item in host.objects(name))


def translate_devices(host: Fields) -> tuple[Device, ...]:
    """``Devices``: host nodes, and folders of them."""
    devices = []
    for item in host.objects("Devices"):
        path, permissions = item.text("PathOnHost"), item.text("CgroupPermissions") or "rwm"
        if set(permissions) - set("rwm"):
            raise bad_request(f"invalid device mode: {permissions}")
        devices.append(Device(path, item.text("PathInContainer") or path, permissions))
    return tuple(devices)


def translate_device_rules(host: Fields) -> tuple[DeviceRule, ...]:
    """``DeviceCgroupRules``: ``c 1:3 mr`` and the like."""
    return tuple(_rule(text) for text in host.strings("DeviceCgroupRules"))


def _rule(text: str) -> DeviceRule:
    parts = text.split()
    if len(parts) != 3 or parts[0] not in "abc" or set(parts[2]) - set("rwm"):
        raise bad_request(f"invalid device cgroup rule format: '{text}'")
    major, colon, minor = parts[1].partition(":")
    if not colon:
        raise bad_request(f"invalid device cgroup rule format: '{text}'")
    return DeviceRule(parts[0], _number(major, text), _number(minor, text), parts[2])


def _number(text: str, rule: str) -> int | None:
    if text == "*":
        return None
    if (number := parse_digits(text, MAX_INT64)) is None:
        raise bad_request(f"invalid device cgroup rule format: '{rule}'")
    return number


def translate_device_requests(host: Fields) -> tuple[str, ...]:
    """``DeviceRequests``: CDI names; other drivers are vendor's own."""
    names: list[str] = []
    for item in host.objects("DeviceRequests"):
        if item.text("Driver") != "cdi":
            raise bad_request(
                f'could not select device driver "{item.text("Driver")}" '
                f"with capabilities: {_as_go_prints(item.raw.get('Capabilities') or [])}"
            )
        if item.integer("Count") or item.mapping("Options"):
            raise bad_request("cannot specify Count or Options for a CDI device request")
        names += item.strings("DeviceIDs")
    return tuple(names)


def _as_go_prints(value: Json) -> str:
    """``[[gpu utility] [x]]``."""
    if isinstance(value, list):
        return "[" + " ".join(_as_go_prints(item) for item in value) + "]"
    return str(value)


def translate_ulimits(host: Fields) -> tuple[Rlimit, ...]:
    """``Ulimits``; -1 is no limit."""
    limits = []
    for item in host.objects("Ulimits"):
        name, soft, hard = item.text("Name"), item.integer("Soft"), item.integer("Hard")
        if name not in _RLIMITS:
            raise bad_request(f"invalid ulimit type: {name}")
        if hard != -1 and (soft > hard or soft == -1):
            raise bad_request(
                f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            )
        limits.append(Rlimit(name, soft, hard))
    return tuple(limits)


_RLIMITS_TEXT = (
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime "
    "sigpending stack"
)
_RLIMITS: Final = frozenset(_RLIMITS_TEXT.split())


def translate_cgroup_parent(text: str, driver: str) -> str:
    """A path as dockerd joins it: whatever its ``..`` lead to, it is below the root. systemd's are slices."""
    if text and driver == "systemd":
        if not text.endswith(".slice") or text == ".slice":
            raise bad_request(
                'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
            )
        return text
    return posixpath.normpath(f"/{text}") if ".." in text.split("/") else text
