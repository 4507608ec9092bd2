"""What this host's cgroups can do: the files that a limit needs are there, or they are not."""

from dataclasses import dataclass
from pathlib import Path

from sharedrt.drivers.cgroups.mountinfo import Hierarchies


@dataclass(frozen=True, slots=True)
class CgroupFeatures:
    """Abilities that kernels are built or booted without. Docker's ``/info`` shows them too."""

    version: int
    memory: bool = True
    swap: bool = True
    cpu_quota: bool = True
    cpu_realtime: bool = True
    cpuset: bool = True
    pids: bool = True
    blkio_weight: bool = True
    hugetlb: bool = True
    swappiness: bool = True
    oom_kill_disable: bool = True


def read_features(hierarchies: Hierarchies) -> CgroupFeatures:
    """Look for the files (v1: in each controller's root; v2: the controllers' list, as its root lacks most files)."""
    if hierarchies.version == 2:
        on = hierarchies.unified_controllers
        return CgroupFeatures(
            version=2,
            memory="memory" in on,
            swap="memory" in on and _swap_accounting_v2(hierarchies.unified),
            cpu_quota="cpu" in on,
            cpu_realtime=False,
            cpuset="cpuset" in on,
            pids="pids" in on,
            blkio_weight="io" in on,
            hugetlb="hugetlb" in on,
            swappiness=False,
            oom_kill_disable=False,
        )

    def has(controller: str, name: str) -> bool:
        root = hierarchies.v1.get(controller)
        return root is not None and (root / name).exists()

    return CgroupFeatures(
        version=1,
        memory=has("memory", "memory.limit_in_bytes"),
        swap=has("memory", "memory.memsw.limit_in_bytes"),
        cpu_quota=has("cpu", "cpu.cfs_quota_us"),
        cpu_realtime=has("cpu", "cpu.rt_runtime_us"),
        cpuset="cpuset" in hierarchies.v1,
        pids="pids" in hierarchies.v1,
        blkio_weight=has("blkio", "blkio.weight") or has("blkio", "blkio.bfq.weight"),
        hugetlb="hugetlb" in hierarchies.v1,
        swappiness=has("memory", "memory.swappiness"),
        oom_kill_disable=has("memory", "memory.oom_control"),
    )


def _swap_accounting_v2(unified: Path | None) -> bool:
    """memory.swap.max exists below the root alone: look at the first children, else believe in it."""
    if unified is None:
        return False
    for child in unified.iterdir():
        if (child / "memory.max").exists():
            return (child / "memory.swap.max").exists()
    return True
