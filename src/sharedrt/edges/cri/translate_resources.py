"""Limits on the way in and out: CRI's LinuxContainerResources, where 0 and empty mean 'not asked for'."""

import re

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.spec import Resources
from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime.v1 import HugepageLimit, LinuxContainerResources

_OOM_SCORE_RANGE = range(-1000, 1001)
_NO_LIMIT = -1
_PAGE_SIZE = re.compile(r"\d{1,8}[KMG]B")


def resources_of(asked: LinuxContainerResources | None) -> Resources:
    """Raises InvalidArgument for figures that no kernel takes."""
    if asked is None:
        return Resources()
    for name in ("cpu_period", "cpu_shares"):
        if getattr(asked, name) < 0:
            raise InvalidArgument(f"resources.{name}", getattr(asked, name), "must not be negative")
    for name in ("cpu_quota", "memory_limit_in_bytes", "memory_swap_limit_in_bytes"):
        if getattr(asked, name) < _NO_LIMIT:
            raise InvalidArgument(f"resources.{name}", getattr(asked, name), "below -1, no limit")
    for limit in asked.hugepage_limits:
        if not _PAGE_SIZE.fullmatch(limit.page_size):
            raise InvalidArgument("resources.hugepage_limits", limit.page_size, "no page size")
    for name in asked.unified:
        if "/" in name or "." not in name:
            raise InvalidArgument("resources.unified", name, "not CONTROLLER.PARAMETER")
    return Resources(
        cpu_period_us=asked.cpu_period or None,
        cpu_quota_us=asked.cpu_quota or None,
        cpu_shares=asked.cpu_shares or None,
        cpuset_cpus=asked.cpuset_cpus or None,
        cpuset_mems=asked.cpuset_mems or None,
        memory_bytes=asked.memory_limit_in_bytes or None,
        memory_swap_bytes=asked.memory_swap_limit_in_bytes or None,
        hugepage_limits={limit.page_size: limit.limit for limit in asked.hugepage_limits},
        unified=dict(asked.unified),
    )


def oom_score_adj_of(asked: LinuxContainerResources | None) -> int | None:
    """``None`` when no resources were given: then the container inherits."""
    if asked is None or not is_present(asked):
        return None
    if asked.oom_score_adj not in _OOM_SCORE_RANGE:
        raise InvalidArgument(
            "resources.oom_score_adj", asked.oom_score_adj, "not between -1000 and 1000"
        )
    return asked.oom_score_adj


def render_resources(resources: Resources, oom_score_adj: int | None) -> LinuxContainerResources:
    """The same on the way out, as of the last update."""
    return LinuxContainerResources(
        cpu_period=resources.cpu_period_us or 0,
        cpu_quota=resources.cpu_quota_us or 0,
        cpu_shares=resources.cpu_shares or 0,
        cpuset_cpus=resources.cpuset_cpus or "",
        cpuset_mems=resources.cpuset_mems or "",
        memory_limit_in_bytes=resources.memory_bytes or 0,
        memory_swap_limit_in_bytes=resources.memory_swap_bytes or 0,
        oom_score_adj=oom_score_adj or 0,
        hugepage_limits=[
            HugepageLimit(page_size=size, limit=limit)
            for size, limit in resources.hugepage_limits.items()
        ],
        unified=dict(resources.unified),
    )
