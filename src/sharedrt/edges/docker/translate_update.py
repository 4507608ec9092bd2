"""``POST /containers/{id}/update``: new limits and a new restart policy, over what the container has.

A figure of 0 leaves what was set, except ``PidsLimit``'s, which lifts the limit. What would contradict a setting
that is there already is a conflict, in dockerd's words: the client has to change both at once, or create anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.host_limits import held_limits
from sharedrt.edges.docker.translate_log import RestartPlan, translate_restart
from sharedrt.edges.docker.translate_resources import translate_resources
from sharedrt.edges.docker.words import Refusal
from sharedrt.model.records import Json
from sharedrt.model.spec import Resources

_EXCLUSIVE: Final = (
    ("NanoCpus", "CpuPeriod", "Nano CPUs cannot be updated as CPU Period has already been set"),
    ("NanoCpus", "CpuQuota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
    ("CpuPeriod", "NanoCpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
    ("CpuQuota", "NanoCpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
)
"""Of these the second must not be set when the first is asked for."""

_TOLD_OF: Final = frozenset(
    ["Memory", "MemorySwappiness", "OomKillDisable", "BlkioWeight", "BlkioWeightDevice"]
)
"""What not every host can hold: warnings are for who asks for it."""


@dataclass(frozen=True, slots=True)
class Update:
    """``resources`` and ``restart`` are ``None`` when they are left alone; ``host_config`` is the new one."""

    host_config: dict[str, Json]
    resources: Resources | None
    restart: RestartPlan | None
    warnings: list[str] = field(default_factory=list)


def translate_update(
    id: str,
    asked: Mapping[str, Json],
    old: Mapping[str, Json],
    *,
    auto_remove: bool,
    cpus: int,
    abilities: frozenset[str] = frozenset(),
) -> Update:
    """The request over the container's HostConfig.

    Args:
        asked: the body, as :mod:`versions` has made it.
        old: HostConfig as ``inspect`` shows it.
        cpus: how many the host has.
        abilities: see :func:`host_limits.held_limits`.

    Raises:
        Refusal: 400 for figures that make no sense, 409 for what contradicts ``old``.
    """
    given = Fields(asked)
    spelled = {name.lower(): name for name in old}
    limits: dict[str, Json] = {
        spelled.get(name.lower(), name): value
        for name, value in asked.items()
        if value not in (0, "", [], None) and name.lower() != "restartpolicy"
    }
    pids = given.optional_integer("PidsLimit")
    if pids is not None:
        limits["PidsLimit"] = max(pids, 0)
    _check_conflicts(id, Fields(limits), Fields(old))
    merged: dict[str, Json] = {**old, **limits}
    resources: Resources | None = None
    warnings: list[str] = []
    if limits:
        held = held_limits(translate_resources(Fields(merged, "HostConfig"), cpus), abilities)
        resources = held.resources
        merged.update(held.shown)
        if limits.keys() & _TOLD_OF:
            warnings = held.warnings
    if resources is not None and limits.get("PidsLimit") == 0:
        resources = replace(resources, pids_limit=-1)
    policy = given.sub("RestartPolicy")
    restart: RestartPlan | None = None
    if policy.text("Name"):
        restart = translate_restart(policy)
        if auto_remove and restart.policy != "no":
            raise _conflict(
                id,
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            )
        merged["RestartPolicy"] = {
            "Name": restart.policy,
            "MaximumRetryCount": restart.max_retries,
        }
    return Update(merged, resources, restart, warnings)


def _check_conflicts(id: str, limits: Fields, old: Fields) -> None:
    for asked, present, words in _EXCLUSIVE:
        if limits.integer(asked) > 0 and old.integer(present) > 0:
            raise _conflict(id, f"Conflicting options: {words}")
    if limits.integer("Memory") > old.integer("MemorySwap") and not limits.integer("MemorySwap"):
        raise _conflict(
            id,
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time",
        )


def _conflict(id: str, words: str) -> Refusal:
    return Refusal(409, f"Cannot update container {id}: {words}")
