"""What a host's kernel cannot hold is dropped, shown as dropped, and said."""

import resource

import pytest

from sharedrt.edges.docker import host_limits
from sharedrt.edges.docker.host_limits import (
    BLKIO_WEIGHT,
    MEMORY_SWAP,
    MEMORY_SWAPPINESS,
    OOM_KILL_DISABLE,
    held_limits,
    unprivileged_warnings,
)
from sharedrt.model.spec import BlkioLimit, Resources, Rlimit

ALL = frozenset({BLKIO_WEIGHT, MEMORY_SWAP, MEMORY_SWAPPINESS, OOM_KILL_DISABLE})
ASKED = Resources(
    memory_bytes=64 << 20,
    memory_swap_bytes=128 << 20,
    memory_swappiness=10,
    oom_kill_disable=True,
    blkio_weight=300,
    blkio_weight_device=(BlkioLimit("/dev/x", 100),),
    cpu_shares=5,
)


def test_a_host_that_can_all_of_it() -> None:
    held = held_limits(ASKED, ALL)
    assert (held.resources, held.warnings, held.shown) == (ASKED, [], {})


def test_a_host_that_can_none_of_it() -> None:
    held = held_limits(ASKED, frozenset())
    assert held.resources == Resources(
        memory_bytes=64 << 20, memory_swap_bytes=128 << 20, cpu_shares=5
    )
    assert [text.split(" discarded")[0].rpartition(". ")[2] for text in held.warnings] == [
        "Memory limited without swap.",
        "Memory swappiness",
        "OomKillDisable",
        "Weight",
        "Weight-device",
    ]
    assert held.shown == {
        "MemorySwappiness": None,
        "OomKillDisable": None,
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
    }


def test_no_oom_killer_and_no_limit() -> None:
    (text,) = held_limits(Resources(oom_kill_disable=True), ALL).warnings
    assert text.startswith("OOM killer is disabled for the container, but no memory limit is set")


def test_bounds_of_a_daemon_without_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = (Rlimit("nofile", 1, 2), Rlimit("core", -1, -1))
    monkeypatch.setattr(host_limits, "_has_sys_resource", lambda: True)
    assert unprivileged_warnings(-1000, limits) == []
    monkeypatch.setattr(host_limits, "_has_sys_resource", lambda: False)
    monkeypatch.setattr(resource, "getrlimit", lambda number: (5, 5))
    score, core = unprivileged_warnings(-1000, limits)
    assert "OomScoreAdj -1000 raised to" in score
    assert "Ulimit core cut to its own hard limit 5" in core
