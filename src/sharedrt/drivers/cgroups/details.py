"""Figures of a cgroup that few ask for, beside :mod:`sharedrt.drivers.cgroups.stats`. Blocking: reads a dozen files."""

import os
import re
from typing import Final

from sharedrt.drivers.cgroups import parse
from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.drivers.cgroups.reader import read_text
from sharedrt.drivers.cgroups.tree import limited
from sharedrt.model.drivers import CgroupDetails, HugetlbStats

_PAGE_SIZES: Final = re.compile(r"hugetlb\.(\d+[KMG]B)\.(?:usage_in_bytes|current)")


def read_details(hierarchies: Hierarchies, path: str) -> CgroupDetails:
    """Zeros, and no huge pages, where a controller is missing."""
    if hierarchies.version == 2:
        folder = f"{hierarchies.unified}{limited(hierarchies, path)}"
        stat = parse.flat_keyed(read_text(f"{folder}/memory.stat"))
        return CgroupDetails(
            oom_kills=parse.flat_keyed(read_text(f"{folder}/memory.events")).get("oom_kill", 0),
            kernel_memory_bytes=stat.get("kernel", 0),
            memory_low_bytes=parse.number(read_text(f"{folder}/memory.low")),
            hugetlb=tuple(
                # v2 keeps no peak.
                HugetlbStats(size, parse.number(read_text(f"{folder}/hugetlb.{size}.current")))
                for size in _page_sizes(folder)
            ),
        )
    memory, huge = hierarchies.v1.get("memory"), hierarchies.v1.get("hugetlb")
    details = CgroupDetails()
    if memory is not None:
        folder = f"{memory}{path}"
        soft = parse.number(read_text(f"{folder}/memory.soft_limit_in_bytes"))
        details = CgroupDetails(
            oom_kills=parse.flat_keyed(read_text(f"{folder}/memory.oom_control")).get(
                "oom_kill", 0
            ),
            kernel_memory_bytes=parse.number(read_text(f"{folder}/memory.kmem.usage_in_bytes")),
            memory_low_bytes=soft if soft < parse.UNLIMITED else 0,
        )
    if huge is None:
        return details
    folder = f"{huge}{path}"
    return CgroupDetails(
        details.oom_kills,
        details.kernel_memory_bytes,
        details.memory_low_bytes,
        tuple(
            HugetlbStats(
                size,
                parse.number(read_text(f"{folder}/hugetlb.{size}.usage_in_bytes")),
                parse.number(read_text(f"{folder}/hugetlb.{size}.max_usage_in_bytes")),
            )
            for size in _page_sizes(folder)
        ),
    )


def _page_sizes(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []  # gone just now
    return sorted(match[1] for name in names if (match := _PAGE_SIZES.fullmatch(name)))
