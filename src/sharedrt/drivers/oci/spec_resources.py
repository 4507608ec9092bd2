"""OCI's ``linux.resources``. v1 figures throughout; the runtime converts them for v2."""

from typing import Any, Final

from sharedrt.drivers.oci.devices import block_device_number
from sharedrt.drivers.oci.notes import Notes
from sharedrt.drivers.oci.ports import CgroupFeatures
from sharedrt.model.faults import FailedPrecondition
from sharedrt.model.spec import BlkioLimit, Resources

_THROTTLES: Final = {
    "throttleReadBpsDevice": "blkio_read_bps",
    "throttleWriteBpsDevice": "blkio_write_bps",
    "throttleReadIOPSDevice": "blkio_read_iops",
    "throttleWriteIOPSDevice": "blkio_write_iops",
}


def render_resources(r: Resources, features: CgroupFeatures, notes: Notes) -> dict[str, Any]:
    """Limits without the device rules.

    What this host's kernel has no file for is left out with a note, as Docker does, where the container runs as
    well without it (swap, swappiness, block weights); where it would run under a wrong promise, it is refused.

    Raises:
        FailedPrecondition: realtime scheduling or huge page limits that this host lacks, v2 settings on a v1 host.
        InvalidArgument: a block device that is none.
    """
    parts = {
        "memory": _memory(r, features, notes),
        "cpu": _cpu(r, features),
        "blockIO": _block_io(r, features, notes),
    }
    found: dict[str, Any] = {name: part for name, part in parts.items() if part}
    if r.pids_limit is not None and r.pids_limit > 0:  # a new cgroup has no limit
        found["pids"] = {"limit": r.pids_limit}
    if hugepages := _hugepages(r, features):
        found["hugepageLimits"] = hugepages
    if r.unified:
        if features.version == 1:
            raise FailedPrecondition(
                "unified resources", ", ".join(r.unified), "needs a cgroup v2 host"
            )
        found["unified"] = dict(r.unified)
    return found


def _memory(r: Resources, features: CgroupFeatures, notes: Notes) -> dict[str, Any]:
    limit = None if r.memory_bytes is not None and r.memory_bytes < 0 else r.memory_bytes
    found = _given(
        limit=limit, swap=r.memory_swap_bytes, reservation=r.memory_reservation_bytes,
        swappiness=r.memory_swappiness, disableOOMKiller=r.oom_kill_disable or None,
    )  # fmt: skip
    _drop(found, "swap", features.swap, "swap limits need swap accounting in the kernel", notes)
    _drop(found, "swappiness", features.swappiness, "memory swappiness needs cgroup v1", notes)
    _drop(
        found,
        "disableOOMKiller",
        features.oom_kill_disable,
        "disabling the OOM killer needs cgroup v1",
        notes,
    )
    return found


def _drop(found: dict[str, Any], key: str, able: bool, why: str, notes: Notes) -> None:
    if key in found and not able:
        del found[key]
        notes.add(why)


def _cpu(r: Resources, features: CgroupFeatures) -> dict[str, Any]:
    found = _given(
        shares=r.cpu_shares, quota=max(r.cpu_quota_us or 0, 0), period=r.cpu_period_us,
        realtimePeriod=r.cpu_realtime_period_us, realtimeRuntime=r.cpu_realtime_runtime_us,
        cpus=r.cpuset_cpus, mems=r.cpuset_mems,
    )  # fmt: skip
    # zero and empty stand for 'not given' with both kubelet and Docker, and the kernel refuses them; a quota below
    # zero is no limit, which is what a new cgroup has
    found = {key: value for key, value in found.items() if value}
    if not features.cpu_realtime and ("realtimePeriod" in found or "realtimeRuntime" in found):
        raise FailedPrecondition(
            "realtime scheduling", "", "this host's cgroups have no cpu.rt_runtime_us"
        )
    return found


def _block_io(r: Resources, features: CgroupFeatures, notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if r.blkio_weight:
        found["weight"] = r.blkio_weight
    if r.blkio_weight_device:
        found["weightDevice"] = [_device(each, "weight") for each in r.blkio_weight_device]
    for key in ("weight", "weightDevice"):
        _drop(
            found,
            key,
            features.blkio_weight,
            "block IO weights need an IO scheduler with weights",
            notes,
        )
    for key, name in _THROTTLES.items():
        if limits := getattr(r, name):
            found[key] = [_device(each, "rate") for each in limits]
    return found


def _device(limit: BlkioLimit, key: str) -> dict[str, int]:
    major, minor = block_device_number(limit)
    return {"major": major, "minor": minor, key: limit.value}


def _hugepages(r: Resources, features: CgroupFeatures) -> list[dict[str, Any]]:
    if features.hugetlb:
        return [{"pageSize": size, "limit": limit} for size, limit in r.hugepage_limits.items()]
    # kubelet names every page size with 0: nothing is lost where the controller is missing
    asked = [size for size, limit in r.hugepage_limits.items() if limit]
    if asked:
        raise FailedPrecondition(
            "hugepage limit", ", ".join(asked), "the hugetlb controller is not mounted"
        )
    return []


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
