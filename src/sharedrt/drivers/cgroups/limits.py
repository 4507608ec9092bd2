"""Limits of parent cgroups (a pod's, a namespace's quota); containers' own limits are the OCI runtime's work."""

import asyncio
from pathlib import Path

from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.drivers.cgroups.paths import CgroupDriver
from sharedrt.drivers.cgroups.reader import read_text, write_text
from sharedrt.drivers.cgroups.tree import limited
from sharedrt.drivers.cgroups.units import set_properties
from sharedrt.model.faults import Internal, InvalidArgument
from sharedrt.model.spec import Resources

_FOR_PARENTS = frozenset(
    [
        "memory_bytes",
        "memory_swap_bytes",
        "cpu_shares",
        "cpu_quota_us",
        "cpu_period_us",
        "cpuset_cpus",
        "cpuset_mems",
        "pids_limit",
        "hugepage_limits",
        "unified",
    ]
)
_DEFAULT_PERIOD_US = 100_000


async def set_limits(
    hierarchies: Hierarchies, driver: CgroupDriver, path: str, resources: Resources
) -> None:
    """Set the limits that are given; see :meth:`CgroupManager.set_limits`."""
    _refuse_others(resources)
    settings = v2_settings(resources) if hierarchies.version == 2 else v1_settings(resources)
    if driver is CgroupDriver.SYSTEMD:
        properties = systemd_properties(resources)
        if properties and hierarchies.version == 2:
            properties += _swap(Path(f"{hierarchies.unified}{path}"), properties)
        await set_properties(path.rstrip("/").rpartition("/")[2], properties)
        below = limited(hierarchies, path) if hierarchies.version == 2 else path
        if below == path:
            settings = unknown_to_systemd(settings, resources)
        path = below
    try:
        await asyncio.to_thread(_write, hierarchies, path, settings)
    except OSError as e:
        raise Internal(f"cgroup {path}", str(e)) from e


def _refuse_others(resources: Resources) -> None:
    for name in Resources.__dataclass_fields__:
        value = getattr(resources, name)
        if value not in (None, (), {}) and name not in _FOR_PARENTS:
            raise InvalidArgument(name, value, "not a limit for a parent cgroup")


def v1_settings(r: Resources) -> list[tuple[str, str, str]]:
    """(controller, file, value), in an order that the kernel takes: memory below memory plus swap.

    Raising both limits needs the other order; the writer tries a refused setting again after the rest.
    """
    found = [
        ("memory", "memory.limit_in_bytes", _v1_number(r.memory_bytes)),
        ("memory", "memory.memsw.limit_in_bytes", _v1_number(r.memory_swap_bytes)),
        ("cpu", "cpu.shares", _v1_number(r.cpu_shares)),
        ("cpu", "cpu.cfs_period_us", _v1_number(r.cpu_period_us)),
        ("cpu", "cpu.cfs_quota_us", _v1_number(r.cpu_quota_us)),
        ("cpuset", "cpuset.cpus", r.cpuset_cpus or ""),
        ("cpuset", "cpuset.mems", r.cpuset_mems or ""),
        ("pids", "pids.max", _max_or(r.pids_limit)),
    ]
    found += [
        ("hugetlb", f"hugetlb.{size}.limit_in_bytes", str(limit))
        for size, limit in r.hugepage_limits.items()
    ]
    return [(c, f, value) for c, f, value in found if value]


def v2_settings(r: Resources) -> list[tuple[str, str, str]]:
    """The same for v2; the controller is told by the file alone."""
    swap = ""
    if r.memory_swap_bytes is not None:
        if r.memory_swap_bytes < 0:
            swap = "max"
        elif r.memory_bytes is not None:
            swap = str(max(0, r.memory_swap_bytes - r.memory_bytes))
    quota = ""
    if r.cpu_quota_us is not None or r.cpu_period_us is not None:
        limit = str(r.cpu_quota_us) if r.cpu_quota_us and r.cpu_quota_us > 0 else "max"
        # The period stays as it is when it is not written.
        quota = f"{limit} {r.cpu_period_us}" if r.cpu_period_us else limit
    found = [
        ("", "memory.max", _max_or(r.memory_bytes)),
        ("", "memory.swap.max", swap),
        ("", "cpu.weight", str(cpu_weight(r.cpu_shares)) if r.cpu_shares else ""),
        ("", "cpu.max", quota),
        ("", "cpuset.cpus", r.cpuset_cpus or ""),
        ("", "cpuset.mems", r.cpuset_mems or ""),
        ("", "pids.max", _max_or(r.pids_limit)),
    ]
    found += [("", f"hugetlb.{size}.max", str(limit)) for size, limit in r.hugepage_limits.items()]
    found += [("", name, value) for name, value in r.unified.items()]
    return [(c, f, value) for c, f, value in found if value]


def unknown_to_systemd(
    settings: list[tuple[str, str, str]], r: Resources
) -> list[tuple[str, str, str]]:
    """What no unit's property stands for is written into the unit's cgroup."""
    return [each for each in settings if each[1].startswith("hugetlb.") or each[1] in r.unified]


def cpu_weight(shares: int) -> int:
    """v1's cpu.shares (2..262144) as v2's cpu.weight (1..10000), by the line that OCI runtimes use."""
    shares = max(2, min(shares, 262144))
    return 1 + (shares - 2) * 9999 // 262142


def systemd_properties(r: Resources) -> list[str]:
    """systemd.resource-control(5) settings for ``systemctl set-property``."""
    found: list[str] = []
    if r.memory_bytes is not None:
        found.append(f"MemoryMax={r.memory_bytes if r.memory_bytes >= 0 else 'infinity'}")
    if r.cpu_shares:
        found.append(f"CPUWeight={cpu_weight(r.cpu_shares)}")
    if r.cpu_quota_us is not None:
        percent = r.cpu_quota_us * 100 // (r.cpu_period_us or _DEFAULT_PERIOD_US)
        found.append(f"CPUQuota={percent}%" if r.cpu_quota_us > 0 else "CPUQuota=")
    if r.pids_limit is not None:
        found.append(f"TasksMax={r.pids_limit if r.pids_limit > 0 else 'infinity'}")
    if r.cpuset_cpus:
        found.append(f"AllowedCPUs={r.cpuset_cpus}")
    if r.cpuset_mems:
        found.append(f"AllowedMemoryNodes={r.cpuset_mems}")
    if r.memory_swap_bytes is not None and r.memory_swap_bytes < 0:
        found.append("MemorySwapMax=infinity")
    elif r.memory_swap_bytes is not None and r.memory_bytes is not None:
        found.append(f"MemorySwapMax={max(0, r.memory_swap_bytes - r.memory_bytes)}")
    return found


def _swap(folder: Path, properties: list[str]) -> list[str]:
    """The limit of swap as it is, where it is not to be changed.

    systemd writes all that it knows of a unit whenever something is changed, and runc does not tell it of a limit of 0.
    """
    text = read_text(folder / "memory.swap.max").strip()
    if not text or any(each.startswith("MemorySwapMax=") for each in properties):
        return []
    return [f"MemorySwapMax={'infinity' if text == 'max' else text}"]


def _write(hierarchies: Hierarchies, path: str, settings: list[tuple[str, str, str]]) -> None:
    again: list[tuple[Path, str]] = []
    for controller, name, value in settings:
        root = hierarchies.v1.get(controller) if controller else hierarchies.unified
        if root is None:
            raise FileNotFoundError(f"no {controller} controller for {name}")
        file = Path(f"{root}{path}/{name}")
        try:
            write_text(file, value)
        except OSError:
            again.append((file, value))
    for file, value in again:
        write_text(file, value)


def _v1_number(value: int | None) -> str:
    return "" if value is None else str(value if value > 0 else -1)


def _max_or(value: int | None) -> str:
    return "" if value is None else str(value) if value > 0 else "max"
