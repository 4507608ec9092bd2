"""Limits that this host cannot hold: what dockerd's ``verifyPlatformContainerResources`` drops, with its warnings.

The driver leaves the same things out (:mod:`sharedrt.drivers.oci.spec_resources`); the client is told here.
"""

import resource
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sharedrt.model.records import Json
from sharedrt.model.spec import Resources, Rlimit

BLKIO_WEIGHT: Final = "blkio weight"
MEMORY_SWAP: Final = "memory swap"
MEMORY_SWAPPINESS: Final = "memory swappiness"
OOM_KILL_DISABLE: Final = "oom kill disable"
_CAP_SYS_RESOURCE: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class _Dropped:
    """A field of Resources that needs the kernel's ``ability``, and what of HostConfig is shown without it."""

    field: str
    ability: str
    nothing: Any
    shown: str
    shown_nothing: Json
    warning: str


_DROPPED: Final = (
    _Dropped(
        "memory_swappiness",
        MEMORY_SWAPPINESS,
        None,
        "MemorySwappiness",
        None,
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. "
        "Memory swappiness discarded.",
    ),
    _Dropped(
        "oom_kill_disable",
        OOM_KILL_DISABLE,
        None,
        "OomKillDisable",
        None,
        "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
    ),
    _Dropped(
        "blkio_weight",
        BLKIO_WEIGHT,
        None,
        "BlkioWeight",
        0,
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
    ),
    _Dropped(
        "blkio_weight_device",
        BLKIO_WEIGHT,
        (),
        "BlkioWeightDevice",
        [],
        "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. "
        "Weight-device discarded.",
    ),
)


@dataclass(frozen=True, slots=True)
class HeldLimits:
    """What is left: ``shown`` are fields of HostConfig that are not what was asked for."""

    resources: Resources
    warnings: list[str] = field(default_factory=list)
    shown: dict[str, Json] = field(default_factory=dict)


def held_limits(resources: Resources, abilities: frozenset[str]) -> HeldLimits:
    """``abilities``: of the names here, what the host has (:func:`host_abilities.optional_files`)."""
    held = HeldLimits(resources)
    if (
        resources.memory_bytes
        and resources.memory_swap_bytes != -1
        and MEMORY_SWAP not in abilities
    ):
        held.warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
            "Memory limited without swap."
        )
    if OOM_KILL_DISABLE not in abilities:
        held.shown["OomKillDisable"] = None
    nothing: dict[str, Any] = {}
    for each in _DROPPED:
        if getattr(resources, each.field) in (None, ()) or each.ability in abilities:
            continue
        nothing[each.field] = each.nothing
        held.shown[each.shown] = each.shown_nothing
        held.warnings.append(each.warning)
    held = replace(held, resources=replace(resources, **nothing))
    if held.resources.oom_kill_disable and not resources.memory_bytes:
        held.warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the "
            "system running out of resources."
        )
    return held


def unprivileged_warnings(oom_score_adj: int | None, rlimits: Iterable[Rlimit]) -> list[str]:
    """What the driver cuts to the daemon's own bounds, where it lacks CAP_SYS_RESOURCE. Blocking (procfs)."""
    if _has_sys_resource():
        return []
    warnings = []
    own = int(Path("/proc/self/oom_score_adj").read_text())
    if oom_score_adj is not None and oom_score_adj < own:
        warnings.append(
            f"This daemon lacks CAP_SYS_RESOURCE. OomScoreAdj {oom_score_adj} raised to {own}."
        )
    for limit in rlimits:
        number = getattr(resource, f"RLIMIT_{limit.name.upper()}", None)
        if number is None:
            continue
        _, hard = resource.getrlimit(number)
        if hard != resource.RLIM_INFINITY and not 0 <= limit.hard <= hard:
            warnings.append(
                f"This daemon lacks CAP_SYS_RESOURCE. Ulimit {limit.name} cut to its own hard limit {hard}."
            )
    return warnings


def _has_sys_resource() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _CAP_SYS_RESOURCE)
    return False
