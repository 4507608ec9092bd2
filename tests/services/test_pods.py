"""Sandboxes when any step fails, is cut off, or comes twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sharedrt.model.faults import Fault, Internal, NotFound
from sharedrt.model.ids import ContainerId, ContainerKey, SandboxId
from sharedrt.model.records import ContainerState, SandboxState
from tests.services.rig import MOBY, Daemon, Machine, actions, container, machine, sandbox

STEPS_MAX = 40


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


async def failure(work: Awaitable[object]) -> BaseException | None:
    try:
        await work
    except Exception as error:  # noqa: BLE001 - a dead daemon's too
        return error
    return None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is another task's doing
            await asyncio.sleep(0.001)


async def each_step(folder: Path, what: str, cni: str) -> AsyncIterator[tuple[Machine, Daemon]]:
    for at in range(1, STEPS_MAX):
        async with machine(folder / str(at)) as host:
            daemon = await host.daemon(at=at, what=what)
            daemon.cni.name = cni
            yield host, daemon
            if not daemon.epoch.reached.is_set():
                assert at > 8, "the steps of a run were not counted"
                return
    raise AssertionError("a run without an end")


async def rows(host: Machine) -> tuple[int, int, int]:
    """Sandboxes, operations, endpoints in the database."""
    return await host.database.within(MOBY).read(
        lambda tx: (
            len(tx.sandboxes.list()),
            len(tx.operations.list()),
            len(tx.endpoints.list()),
        )
    )


@pytest.mark.parametrize("cni", ["net", ""])
@pytest.mark.parametrize("what", ["fail", "fail after"])
async def test_a_run_that_fails_at_any_step_leaves_nothing(
    tmp_path: Path, what: str, cni: str
) -> None:
    async for host, daemon in each_step(tmp_path, what, cni):
        pods = daemon.services.pods
        error = await failure(pods.run(sandbox()))
        if error is not None:
            assert isinstance(error, Internal)
            assert "failed" in str(error)
            assert host.world.things == set()
            assert pods.list() == []
            assert await rows(host) == (0, 0, 0)
            await pods.run(sandbox())
        assert [r.state for r in pods.list()] == [SandboxState.READY]
        assert (await rows(host))[1] == 0


@pytest.mark.parametrize("cni", ["net", ""])
@pytest.mark.parametrize("what", ["kill", "kill after"])
async def test_a_daemon_killed_at_any_step_of_a_run_is_recovered_from(
    tmp_path: Path, what: str, cni: str
) -> None:
    async for host, daemon in each_step(tmp_path, what, cni):
        acknowledged = await failure(daemon.services.pods.run(sandbox())) is None
        following = await host.daemon()
        following.cni.name = cni
        pods = following.services.pods
        if pods.list():
            assert pods.list()[0].state is SandboxState.READY
            assert host.world.has("oci")
            await pods.remove(pods.list()[0].id)
        else:
            assert not acknowledged
        assert host.world.things == set()
        assert await rows(host) == (0, 0, 0)


async def test_a_daemon_stopped_at_any_step_of_a_run_undoes_or_finishes_it(tmp_path: Path) -> None:
    async for host, daemon in each_step(tmp_path, "hang", "net"):
        run = asyncio.ensure_future(daemon.services.pods.run(sandbox()))  # noqa: TID251
        await until(lambda: daemon.epoch.reached.is_set() or run.done())  # noqa: B023
        closing = asyncio.ensure_future(daemon.services.aclose())  # noqa: TID251
        await asyncio.sleep(0.01)
        daemon.epoch.go_on.set()
        await closing
        await asyncio.gather(run, return_exceptions=True)
        following = await host.daemon()
        pods = following.services.pods.list()
        assert len(pods) == len(host.world.has("oci")) == (await rows(host))[0]
        if not pods:
            assert host.world.things == set()


async def test_the_first_error_is_shown_and_the_sandbox_stays_for_another_try(
    host: Machine,
) -> None:
    daemon = await host.daemon()
    pods = daemon.services.pods
    host.world.stuck = "cni"

    async def refuse(key: ContainerKey) -> None:
        raise Internal("start", "the first error")

    daemon.oci.start = refuse  # type: ignore[method-assign]
    with pytest.raises(Internal, match="the first error"):
        await pods.run(sandbox())
    (kept,) = pods.list()
    assert kept.state is SandboxState.NOT_READY
    assert kept.cni_result is not None
    with pytest.raises(Internal, match="is stuck"):
        await pods.stop(kept.id)
    host.world.stuck = ""
    await pods.remove(kept.id)
    assert host.world.things == set()
    assert await rows(host) == (0, 0, 0)


async def test_a_plugin_that_fails_does_not_keep_the_daemon_from_starting(host: Machine) -> None:
    daemon = await host.daemon(at=6, what="kill after")
    assert await failure(daemon.services.pods.run(sandbox()))
    host.world.stuck = "oci"
    await host.daemon()
    host.world.stuck = ""
    await host.daemon()
    assert host.world.things == set()
    assert await rows(host) == (0, 0, 0)


async def test_twice_at_once_is_one(host: Machine) -> None:
    pods = (await host.daemon()).services.pods
    made = await asyncio.gather(*(pods.run(sandbox()) for _ in range(3)))
    assert len({record.id for record in made}) == 1
    assert len(pods.list()) == 1


async def test_stop_is_idempotent_and_deletes_the_network_once(host: Machine) -> None:
    daemon = await host.daemon()
    pods = daemon.services.pods
    record = await pods.run(sandbox())
    await asyncio.gather(*(pods.stop(record.id) for _ in range(3)))
    await pods.stop(record.id)
    assert len([c for c in host.world.calls if c.startswith("DEL")]) == 1
    assert pods.list()[0].state is SandboxState.NOT_READY
    await asyncio.gather(*(pods.remove(record.id) for _ in range(2)))
    await pods.remove(SandboxId("f" * 64))
    with pytest.raises(NotFound):
        await pods.stop(record.id)
    assert host.world.things == set()
    store = host.database.within(MOBY)
    told = actions(await store.read(lambda tx: tx.events.since(0, 1 << 62, 100)))
    assert told == ["create", "start", "stop", "destroy"]


async def test_no_container_gets_into_a_pod_that_is_being_stopped(host: Machine) -> None:
    daemon = await host.daemon()
    pods, containers = daemon.services.pods, daemon.services.containers
    record = await pods.run(sandbox())
    inner = ContainerId("e" * 64)
    await host.add(container(inner, sandbox_id=record.id, networks=()))
    await daemon.services.load()
    daemon.oci.ignores_term = True
    start, stop = await asyncio.gather(
        containers.start(inner), pods.stop(record.id), return_exceptions=True
    )
    assert stop is None
    assert start is None or isinstance(start, Fault)
    assert not containers.is_running(inner)
    assert [t for t in host.world.things if not t.startswith("folder /state")] == []
    await pods.remove(record.id)
    assert containers.list() == []


async def test_a_dead_first_process_makes_the_pod_not_ready(host: Machine) -> None:
    daemon = await host.daemon()
    record = await daemon.services.pods.run(sandbox())
    daemon.oci.end(ContainerKey(MOBY, ContainerId(record.id)), 137)
    await until(lambda: daemon.services.pods.list()[0].state is SandboxState.NOT_READY)


async def test_another_boot_frees_the_network_once(host: Machine) -> None:
    daemon = await host.daemon()
    record = await daemon.services.pods.run(sandbox())
    inner = ContainerId("e" * 64)
    await host.add(container(inner, sandbox_id=record.id, networks=()))
    await daemon.services.load()
    await daemon.services.containers.start(inner)
    daemon.epoch.dead = True
    host.world.processes.clear()
    host.world.things = {thing for thing in host.world.things if thing.startswith("cni")}
    following = await host.daemon(boot_id="another")
    (found,) = following.services.pods.list()
    assert found.state is SandboxState.NOT_READY
    ended = following.services.containers.by_id(inner)
    assert (ended.state, ended.exit_code) == (ContainerState.EXITED, 255)
    await until(lambda: following.services.pods.list()[0].network_torn_down)
    await following.services.pods.stop(record.id)
    await following.services.pods.remove(record.id)
    assert [c for c in host.world.calls if c.startswith("DEL")] == [f"DEL {record.id}"]
    assert host.world.has("cni") == []
