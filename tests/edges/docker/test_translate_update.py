"""Updates: what is left alone, what is lifted, and what contradicts what is set."""

from typing import Any

import pytest

from sharedrt.edges.docker.host_config import complete_host_config
from sharedrt.edges.docker.translate_update import Update, translate_update
from sharedrt.edges.docker.words import Refusal


def update(
    asked: dict[str, Any], old: dict[str, Any] | None = None, *, auto_remove: bool = False
) -> Update:
    host_config = complete_host_config(old or {}, {})
    return translate_update("c1", asked, host_config, auto_remove=auto_remove, cpus=2)


def refused(
    asked: dict[str, Any], old: dict[str, Any] | None = None, *, auto_remove: bool = False
) -> str:
    with pytest.raises(Refusal) as caught:
        update(asked, old, auto_remove=auto_remove)
    return f"{caught.value.status} {caught.value.message}"


def test_zero_leaves_a_limit_alone() -> None:
    made = update({"CpuShares": 0, "CpusetCpus": "", "PidsLimit": None}, {"CpuShares": 512})
    assert made.resources is None
    assert made.restart is None
    assert made.host_config["CpuShares"] == 512


def test_names_are_read_in_any_case() -> None:
    made = update({"cpushares": 256, "pidslimit": 7})
    assert (made.host_config["CpuShares"], made.host_config["PidsLimit"]) == (256, 7)
    assert made.resources is not None
    assert (made.resources.cpu_shares, made.resources.pids_limit) == (256, 7)


@pytest.mark.parametrize("value", [0, -1, -2])
def test_no_limit_of_processes(value: int) -> None:
    made = update({"PidsLimit": value}, {"PidsLimit": 32})
    assert made.host_config["PidsLimit"] == 0
    assert made.resources is not None
    assert made.resources.pids_limit == -1


def test_no_quota() -> None:
    made = update({"CpuQuota": -1}, {"CpuQuota": 20_000})
    assert made.host_config["CpuQuota"] == -1
    assert made.resources is not None
    assert made.resources.cpu_quota_us == -1


@pytest.mark.parametrize(
    ("asked", "old", "words"),
    [
        ({"NanoCpus": 10**9}, {"CpuQuota": 5000}, "Nano CPUs cannot be updated as CPU Quota has"),
        ({"NanoCpus": 10**9}, {"CpuPeriod": 5000}, "Nano CPUs cannot be updated as CPU Period has"),
        ({"CpuQuota": 5000}, {"NanoCpus": 10**9}, "CPU Quota cannot be updated as NanoCPUs has"),
        ({"CpuPeriod": 5000}, {"NanoCpus": 10**9}, "CPU Period cannot be updated as NanoCPUs has"),
        (
            {"Memory": 300 << 20},
            {"Memory": 100 << 20, "MemorySwap": 200 << 20},
            "Memory limit should be smaller than already set memoryswap limit",
        ),
    ],
)
def test_conflicts(asked: dict[str, Any], old: dict[str, Any], words: str) -> None:
    assert f"409 Cannot update container c1: {words}".replace(
        "c1: Nano", "c1: Conflicting options: Nano"
    ).replace("c1: CPU", "c1: Conflicting options: CPU") in refused(asked, old)


def test_memory_with_its_swap() -> None:
    old = {"Memory": 100 << 20, "MemorySwap": 200 << 20}
    made = update({"Memory": 300 << 20, "MemorySwap": 600 << 20}, old)
    assert made.resources is not None
    assert made.resources.memory_swap_bytes == 600 << 20


def test_restart_policies() -> None:
    made = update({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5}})
    assert made.resources is None
    assert made.restart is not None
    assert (made.restart.policy, made.restart.max_retries) == ("on-failure", 5)
    assert made.host_config["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
    assert update({"RestartPolicy": {"Name": ""}}).restart is None
    assert "400 invalid restart policy" in refused({"RestartPolicy": {"Name": "odd"}})
    always = {"RestartPolicy": {"Name": "always"}}
    assert "409 Cannot update container c1: Restart policy cannot" in refused(
        always, auto_remove=True
    )
    none = update({"RestartPolicy": {"Name": "no"}}, auto_remove=True)
    assert none.restart is not None


def test_what_the_host_cannot_hold_is_said_to_who_asks() -> None:
    made = update({"BlkioWeight": 300})
    assert ["Weight discarded" in text for text in made.warnings] == [True]
    assert made.host_config["BlkioWeight"] == 0
    assert made.resources is not None
    assert made.resources.blkio_weight is None
    assert update({"CpuShares": 5}, {"Memory": 64 << 20, "MemorySwap": 128 << 20}).warnings == []
