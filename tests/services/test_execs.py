"""Records of execs: there while they are of use, gone with their container, and never more of them for ever."""

import asyncio
from typing import Any

import pytest

from sharedrt.model.faults import NotFound, ResourceExhausted, StartFailed
from sharedrt.model.ids import ContainerKey, ExecId
from sharedrt.model.records import ExecRecord
from sharedrt.services import execs
from sharedrt.services.contracts import NewExec
from tests.services.rig import ID, MOBY, Daemon, Machine, container


class Session:
    """An exec that ends at once; nobody listens."""

    async def wait(self) -> int:
        return 0

    async def read(self) -> None:
        return None

    async def close_stdin(self) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        await asyncio.sleep(0)


class Runtime:
    """How execs start: at once, or when the test says so, well or not."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.fault: StartFailed | None = None

    async def exec(self, key: ContainerKey, record: ExecRecord, **options: Any) -> Session:
        self.begun.set()
        await self.go_on.wait()
        if self.fault is not None:
            raise self.fault
        return Session()


async def running(host: Machine, monkeypatch: pytest.MonkeyPatch) -> tuple[Daemon, Runtime]:
    await host.add(container())
    daemon, runtime = await host.daemon(), Runtime()
    monkeypatch.setattr(daemon.oci, "exec", runtime.exec, raising=False)
    await daemon.containers.start(ID)
    return daemon, runtime


async def run(daemon: Daemon) -> ExecId:
    """An exec that has ended."""
    service = daemon.services.execs
    record = await service.create(NewExec(ID, ("true",)))
    await service.start(record.id, detach=True)
    async with asyncio.timeout(60):
        while service.get(record.id).exit_code is None:  # noqa: ASYNC110 - another task's doing
            await asyncio.sleep(0)
    return record.id


async def stored(host: Machine) -> list[str]:
    rows = await host.database.within(MOBY).read(lambda tx: tx.execs.list())
    return [row.id for row in rows]


async def test_what_ended_long_ago_makes_room(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, _ = await running(host, monkeypatch)
    service = daemon.services.execs
    first = await run(daemon)
    second = await run(daemon)
    assert service.get(first).exit_code == 0
    monkeypatch.setattr(execs, "ENDED_KEPT_S", 0.0)
    waiting = await service.create(NewExec(ID, ("true",)))
    for gone in (first, second):
        with pytest.raises(NotFound):
            service.get(gone)
    third = await run(daemon)
    assert await stored(host) == [waiting.id, third]
    assert [record.id for record in service.of_container(ID)] == [waiting.id, third]
    # So it is for those of an earlier daemon.
    later = await host.daemon()
    assert later.services.execs.get(third).exit_code is not None
    monkeypatch.setattr(later.oci, "exec", Runtime().exec, raising=False)
    last = await later.services.execs.create(NewExec(ID, ("true",)))
    assert await stored(host) == [waiting.id, last.id]


async def test_a_refused_creation_forgets_nothing(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, _ = await running(host, monkeypatch)
    service = daemon.services.execs
    first = await run(daemon)
    monkeypatch.setattr(execs, "ENDED_KEPT_S", 0.0)
    host.world.disk_full = True
    with pytest.raises(ResourceExhausted):
        await service.create(NewExec(ID, ("true",)))
    assert service.get(first).exit_code == 0
    host.world.disk_full = False
    last = await service.create(NewExec(ID, ("true",)))
    assert await stored(host) == [last.id]


@pytest.mark.parametrize("fails", [True, False])
async def test_one_that_starts_while_its_container_goes_goes_with_it(
    host: Machine, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    daemon, runtime = await running(host, monkeypatch)
    service = daemon.services.execs
    record = await service.create(NewExec(ID, ("true",)))
    runtime.go_on.clear()
    runtime.fault = StartFailed(ID, "container does not exist", 128) if fails else None
    async with asyncio.TaskGroup() as group:

        async def start() -> None:
            try:
                await service.start(record.id)
            except StartFailed:
                assert fails

        group.create_task(start())
        await runtime.begun.wait()
        await daemon.containers.remove(ID, force=True)
        runtime.go_on.set()
    with pytest.raises(NotFound):
        service.get(record.id)
    assert await stored(host) == []
