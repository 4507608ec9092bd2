"""A container stands still for its commit, and never longer, whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharedrt.model.ids import ContainerKey
from tests.services.rig import ID, MOBY, Daemon, Machine, container, machine

KEY = ContainerKey(MOBY, ID)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(tmp_path) as made:
        await made.add(container())
        yield made


async def goes_on(host: Machine, daemon: Daemon) -> None:
    record = daemon.containers.by_id(ID)
    assert daemon.containers.is_running(ID)
    assert not record.paused
    assert host.world.frozen == set()
    assert await host.database.within(MOBY).read(lambda tx: tx.operations.list()) == []


async def test_it_goes_on_afterwards(host: Machine) -> None:
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    async with daemon.services.commits._paused(ID):
        assert host.world.frozen == {KEY}
    await goes_on(host, daemon)


async def test_it_goes_on_when_the_daemon_was_killed_meanwhile(host: Machine) -> None:
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    await daemon.services.commits._paused(ID).__aenter__()
    assert host.world.frozen == {KEY}
    daemon.epoch.dead = True
    await goes_on(host, await host.daemon())


async def test_it_goes_on_when_its_client_has_gone_meanwhile(host: Machine) -> None:
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    epoch = daemon.epoch
    epoch.at, epoch.what, epoch.count = 3, "hang", 0  # intent, row, freezer

    async def commit() -> None:
        async with daemon.services.commits._paused(ID):
            raise AssertionError("its client has gone")

    async with asyncio.TaskGroup() as group:
        work = group.create_task(commit())
        await epoch.reached.wait()
        work.cancel()
        epoch.go_on.set()
    await goes_on(host, daemon)


async def test_one_that_a_client_has_paused_stays_so(host: Machine) -> None:
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    await daemon.containers.pause(ID)
    async with daemon.services.commits._paused(ID):
        pass
    assert host.world.frozen == {KEY}
    assert daemon.containers.by_id(ID).paused
