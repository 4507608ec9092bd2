"""A checkpoint when any step of it fails or is the daemon's last, and when its caller does not wait."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sharedrt.model.faults import DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument
from sharedrt.model.records import ContainerState
from tests.services.containers.test_life import STEPS_MAX, events, failure, record
from tests.services.rig import ID, MOBY, Daemon, Machine, container, machine


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


async def running(host: Machine, **epoch: Any) -> Daemon:
    """A daemon with a running container."""
    await host.add(container())
    daemon = await host.daemon(**epoch)
    daemon.epoch.armed = False
    await daemon.containers.start(ID)
    daemon.epoch.armed = True
    return daemon


async def each_step(folder: Path, what: str) -> AsyncIterator[tuple[Machine, Daemon]]:
    for at in range(1, STEPS_MAX):
        async with machine(folder / str(at)) as host:
            daemon = await running(host, at=at, what=what)
            yield host, daemon
            if not daemon.epoch.reached.is_set():
                assert at > 6, "the steps of a checkpoint were not counted"
                return
    raise AssertionError("a checkpoint without an end")


async def operations(host: Machine) -> int:
    return await host.database.within(MOBY).read(lambda tx: len(tx.operations.list()))


def left(host: Machine) -> list[str]:
    return [thing for thing in host.world.has("checkpoint") if not thing.startswith("archive")]


TARGET = Path("/tmp/one.tar")
"""Its folder has to be there; the archive is a thing of the fake world."""


async def test_frozen_dumped_copied_thawed_and_packed(tmp_path: Path) -> None:
    async with machine(tmp_path) as host:
        daemon = await running(host)
        await daemon.services.checkpoints.write(ID, TARGET)
        # checkpoint, rootfs-diff.tar and the folder of config.dump
        assert host.world.has("archive") == [f"archive {TARGET} of 2"]
        assert host.world.frozen == set()
        assert left(host) == []
        assert await operations(host) == 0
        assert record(daemon).state is ContainerState.RUNNING
        assert not record(daemon).paused
        assert (await events(daemon))[-1] == "checkpoint"


@pytest.mark.parametrize("what", ["fail", "fail after"])
async def test_one_that_fails_at_any_step_leaves_nothing(tmp_path: Path, what: str) -> None:
    async for host, daemon in each_step(tmp_path, what):
        error = await failure(daemon.services.checkpoints.write(ID, TARGET))
        if error is not None:
            assert isinstance(error, Internal)
        assert host.world.frozen == set()
        assert record(daemon).state is ContainerState.RUNNING
        await daemon.services.aclose()
        # What a full disk kept from being cleared, the next daemon clears.
        await host.daemon()
        assert left(host) == []
        assert await operations(host) == 0


@pytest.mark.parametrize("what", ["kill", "kill after"])
async def test_a_daemon_killed_at_any_step_is_recovered_from(tmp_path: Path, what: str) -> None:
    async for host, daemon in each_step(tmp_path, what):
        acknowledged = await failure(daemon.services.checkpoints.write(ID, TARGET)) is None
        following = await host.daemon()
        assert host.world.frozen == set()
        assert left(host) == []
        assert await operations(host) == 0
        assert record(following).state is ContainerState.RUNNING
        if acknowledged:
            assert host.world.has("archive")


async def test_a_caller_whose_time_is_over_gets_no_archive(tmp_path: Path) -> None:
    async with machine(tmp_path) as host:
        daemon = await running(host, at=4, what="hang")
        with pytest.raises(DeadlineExceeded):
            await daemon.services.checkpoints.write(ID, TARGET, timeout_s=0.01)
        daemon.epoch.go_on.set()
        async with asyncio.timeout(60):
            # Waits for the first one's end.
            await daemon.services.checkpoints.write(ID, TARGET.with_name("two.tar"))
        assert host.world.has("archive") == [f"archive {TARGET.with_name('two.tar')} of 2"]


async def test_refusals(tmp_path: Path) -> None:
    async with machine(tmp_path) as host:
        daemon = await running(host)
        write = daemon.services.checkpoints.write
        for location in (Path("relative.tar"), Path("/"), Path("/no/such/folder/x.tar")):
            with pytest.raises(InvalidArgument, match="location"):
                await write(ID, location)
        await daemon.containers.pause(ID)
        with pytest.raises(FailedPrecondition, match="paused"):
            await write(ID, TARGET)
        await daemon.containers.unpause(ID)
        await daemon.containers.kill(ID)
        with pytest.raises(FailedPrecondition, match="not running"):
            await write(ID, TARGET)
        assert await operations(host) == 0
