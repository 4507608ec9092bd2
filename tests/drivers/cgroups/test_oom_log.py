"""The kernel's log of OOM kills; a pipe in packet mode stands for the device: one reading is one record."""

import os
from collections.abc import Iterator

import pytest

from sharedrt.drivers.cgroups.oom_log import OomLog, parse_record

SCOPE = r"/srt.slice/sharedrt\x2dk8s.io-b4c2.scope"
LOGGED = SCOPE.replace("\\", r"\x5c")


def record(time_us: int, victim: str = f"{LOGGED}/container") -> str:
    """As Debian 12's kernel writes it."""
    return (
        f"6,833,{time_us},-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=container,"
        f"mems_allowed=0,oom_memcg={victim},task_memcg={victim},task=tail,pid=1638,uid=0\n"
    )


@pytest.fixture
def device() -> Iterator[tuple[str, int]]:
    reader, writer = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    yield f"/proc/self/fd/{reader}", writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def log(device: tuple[str, int]) -> Iterator[OomLog]:
    log = OomLog(device[0])
    yield log
    log.close()


def test_records() -> None:
    assert parse_record(record(473500414)) == (473500414, f"{SCOPE}/container")
    whole = "6,9,5,-;oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/a,b,task=x,y,pid=1,uid=0\n"
    assert parse_record(whole) == (5, "/a,b")
    assert parse_record("3,834,473501097,-;Memory cgroup out of memory: Killed process 1\n") is None
    assert parse_record("6,1,2,-;x\n SUBSYSTEM=task_memcg=/a,task=\n") is None


def test_who_was_killed(device: tuple[str, int], log: OomLog) -> None:
    os.write(device[1], b"6,832,100,-;something else\n")
    os.write(device[1], record(5_000_000).encode())
    assert log.tells_of(SCOPE, 4_000_000)
    assert log.tells_of(SCOPE, 4_000_000), "asked again, it is told again"
    assert not log.tells_of(SCOPE[:-1], 4_000_000)
    assert not log.tells_of("/srt.slice/other.scope", 4_000_000)


def test_the_next_run_of_a_container(device: tuple[str, int], log: OomLog) -> None:
    os.write(device[1], record(5_000_000).encode())
    assert log.tells_of(SCOPE, 4_000_000)
    assert not log.tells_of(SCOPE, 5_000_100)
    os.write(device[1], record(6_000_000, LOGGED).encode())
    assert log.tells_of(SCOPE, 5_000_100)


def test_runs_of_before_this_daemon(device: tuple[str, int], log: OomLog) -> None:
    os.write(device[1], record(5_000_000).encode())
    assert not log.tells_of(SCOPE, 6_000_000)
    assert log.tells_of(SCOPE, 5_000_400), "the log's clock may be behind"


def test_a_root_below_the_machines(device: tuple[str, int], log: OomLog) -> None:
    os.write(device[1], record(5_000_000, "/lxc/one" + LOGGED).encode())
    assert log.tells_of(SCOPE, 4_000_000)


def test_no_log_to_read() -> None:
    log = OomLog("/no/such/device")
    assert not log.tells_of(SCOPE, 0)
    log.close()
