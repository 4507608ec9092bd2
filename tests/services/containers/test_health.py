"""Checks of running containers: when they come, what ends them, and what is kept of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sharedrt.model.faults import StartFailed
from sharedrt.model.ids import ContainerKey
from sharedrt.model.records import ContainerRecord, ExecRecord, HealthStatus
from sharedrt.model.spec import HealthCheck
from sharedrt.model.stdio import StdStream
from tests.services.rig import ID, MOBY, Daemon, Machine, actions, container, machine

KEY = ContainerKey(MOBY, ID)


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


class Check:
    """A session of a check that says ``output`` and ends with ``code``; ``None``: never."""

    def __init__(self, code: int | None, output: bytes) -> None:
        self._code, self._output = code, output
        self._said = False
        self.closed = False

    async def read(self) -> tuple[StdStream, bytes] | None:
        if self._output and not self._said:
            self._said = True
            return StdStream.STDOUT, self._output
        if self._code is None:
            await asyncio.Event().wait()
        return None

    async def wait(self) -> int:
        assert self._code is not None
        return self._code

    async def __aenter__(self) -> "Check":
        self._said = False
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.closed = True


class Checks:
    """What the runtime's exec answers, one after the other; the last one again and again."""

    def __init__(self, *sessions: Check | StartFailed) -> None:
        self.sessions = list(sessions)
        self.asked: list[ExecRecord] = []

    async def exec(self, key: ContainerKey, record: ExecRecord, *, kill_on_close: bool) -> Check:
        assert key == KEY
        assert kill_on_close
        self.asked.append(record)
        answer = self.sessions.pop(0) if len(self.sessions) > 1 else self.sessions[0]
        if isinstance(answer, StartFailed):
            raise answer
        return answer


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(tmp_path) as made:
        await made.add(checked())
        yield made


def checked(**fields: Any) -> ContainerRecord:
    check = HealthCheck(
        ("check", "it"), **{"interval_s": 0.01, "timeout_s": 0.05, "retries": 2, **fields}
    )
    record = container()
    return replace(record, spec=replace(record.spec, health_check=check))


async def running(host: Machine, *sessions: Check | StartFailed) -> tuple[Daemon, Checks]:
    daemon = await host.daemon()
    checks = Checks(*sessions)
    daemon.oci.exec = checks.exec  # type: ignore[attr-defined]
    await daemon.containers.start(ID)
    return daemon, checks


def record(daemon: Daemon) -> ContainerRecord:
    found: ContainerRecord = daemon.containers.by_id(ID)
    return found


async def until_status(daemon: Daemon, status: HealthStatus) -> None:
    async with asyncio.timeout(60):
        while (health := record(daemon).health) is None or health.status is not status:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_check_is_run_kept_and_told(host: Machine) -> None:
    daemon, checks = await running(host, Check(0, b"fine\n"))
    assert record(daemon).health is not None
    await until_status(daemon, HealthStatus.HEALTHY)
    health = record(daemon).health
    assert health is not None
    assert (health.results[0].exit_code, health.results[0].output) == (0, "fine\n")
    assert checks.asked[0].args == ("check", "it")
    store = daemon.services.events._store
    told = actions(await store.read(lambda tx: tx.events.since(0, 1 << 62, 100)))
    assert told[:6] == [
        "connect",
        "start",
        "exec_create: check it",
        "exec_start: check it",
        "exec_die",
        "health_status: healthy",
    ]
    stored = await store.read(lambda tx: tx.containers.get(ID))
    assert stored is not None
    assert stored.health is not None
    assert stored.health.status is HealthStatus.HEALTHY


async def test_failures_in_a_row_make_it_unhealthy(host: Machine) -> None:
    daemon, _ = await running(host, Check(1, b""), Check(3, b"bad"))
    await until_status(daemon, HealthStatus.UNHEALTHY)
    health = record(daemon).health
    assert health is not None
    assert [r.exit_code for r in health.results[:2]] == [1, 3]


async def test_one_that_hangs_is_killed_and_fails(host: Machine) -> None:
    hanging = Check(None, b"so far")
    daemon, _ = await running(host, hanging)
    await until_status(daemon, HealthStatus.UNHEALTHY)
    assert hanging.closed
    health = record(daemon).health
    assert health is not None
    assert health.results[0].exit_code == -1
    assert health.results[0].output == "Health check exceeded timeout (50ms): so far"


async def test_one_that_cannot_start_fails(host: Machine) -> None:
    daemon, _ = await running(host, StartFailed(ID, "no such file", 127))
    await until_status(daemon, HealthStatus.UNHEALTHY)
    health = record(daemon).health
    assert health is not None
    assert (health.results[0].exit_code, health.results[0].output) == (-1, "no such file")


async def test_long_output_is_cut(host: Machine) -> None:
    daemon, _ = await running(host, Check(0, b"x" * 5000))
    await until_status(daemon, HealthStatus.HEALTHY)
    health = record(daemon).health
    assert health is not None
    assert health.results[0].output == "x" * 4096 + "..."


async def test_checks_end_with_the_container_and_rest_while_it_is_paused(host: Machine) -> None:
    daemon, checks = await running(host, Check(0, b""))
    await until_status(daemon, HealthStatus.HEALTHY)
    await daemon.containers.pause(ID)
    count = len(checks.asked)
    await asyncio.sleep(0.05)
    assert len(checks.asked) == count
    await daemon.containers.unpause(ID)
    async with asyncio.timeout(60):
        while len(checks.asked) == count:  # noqa: ASYNC110 - another task's doing
            await asyncio.sleep(0.001)
    await daemon.containers.stop(ID, grace_s=0)
    await until_status(daemon, HealthStatus.UNHEALTHY)
    count = len(checks.asked)
    await asyncio.sleep(0.05)
    assert len(checks.asked) == count


async def test_the_next_daemon_goes_on(host: Machine) -> None:
    daemon, _ = await running(host, Check(0, b"first"))
    await until_status(daemon, HealthStatus.HEALTHY)
    daemon.epoch.dead = True
    checks = Checks(Check(1, b"second"))
    following = await host.daemon()
    following.oci.exec = checks.exec  # type: ignore[attr-defined]
    health = record(following).health
    assert health is not None
    assert health.status is HealthStatus.HEALTHY
    await until_status(following, HealthStatus.UNHEALTHY)
    health = record(following).health
    assert health is not None
    outputs = [r.output for r in health.results]
    assert "first" in outputs or len(outputs) == 5
    assert outputs[-1] == "second"
