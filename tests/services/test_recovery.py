"""A start on a host where something cannot be mended: that is told, and all else is served."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sharedrt.model.faults import Internal
from sharedrt.model.ids import ContainerKey, OperationId, SandboxId
from sharedrt.model.records import (
    ContainerState,
    OperationRecord,
    SandboxRecord,
    SandboxSpec,
    SandboxState,
)
from sharedrt.model.stores import Transaction
from sharedrt.services.builds.running import OPERATION
from sharedrt.services.containers.checkpoints import OPERATION as CHECKPOINT
from sharedrt.services.runtime import RuntimeService
from tests.services.rig import ID, MOBY, Daemon, Machine, container
from tests.services.world import Epoch

POD = SandboxRecord(
    id=SandboxId("d" * 64),
    name="web",
    uid="u",
    pod_namespace="default",
    attempt=0,
    spec=SandboxSpec(),
    state=SandboxState.READY,
)


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


def told(log: list[Any], words: str) -> bool:
    return any(entry["log_level"] == "error" and words in entry["event"] for entry in log)


async def stuck(*_: object, **__: object) -> None:
    raise Internal("host", "Operation not permitted")


async def names(*_: object) -> list[str]:
    return ["left"]


def unstarted(host: Machine) -> Daemon:
    return Daemon(host.folder, host.database, Epoch(host.world))


async def starts(daemon: Daemon) -> None:
    """And a container that ran is watched, as by any daemon."""
    await daemon.recover()
    assert daemon.containers.is_running(ID)
    await daemon.services.aclose()


@pytest.fixture
async def running(host: Machine) -> None:
    await host.add(container())
    first = await host.daemon()
    await first.containers.start(ID)
    assert first.containers.by_id(ID).state is ContainerState.RUNNING
    await first.services.aclose()


@pytest.mark.usefixtures("running")
async def test_a_volumes_folder_that_cannot_be_removed(
    host: Machine, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    """With chattr +i in it, say: the volume's removal had failed for the same reason."""
    daemon = unstarted(host)
    monkeypatch.setattr(daemon.drivers.volumes, "names", names)
    monkeypatch.setattr(daemon.drivers.volumes, "remove", stuck)
    await starts(daemon)
    assert told(log, "cannot remove a volume's folder")


@pytest.mark.usefixtures("running")
async def test_a_build_that_cannot_be_removed(
    host: Machine, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    def intend(tx: Transaction) -> None:
        tx.operations.add(OperationRecord(OperationId("o1"), OPERATION, "b" * 64))

    await host.database.within(MOBY).write(intend)
    daemon = unstarted(host)
    remove_tree = daemon.drivers.host.remove_tree

    async def some(path: Path) -> None:
        if "build" in str(path):
            await stuck()
        await remove_tree(path)

    monkeypatch.setattr(daemon.drivers.host, "remove_tree", some)
    monkeypatch.setattr(daemon.containers, "remove", stuck)
    await starts(daemon)
    assert told(log, "cannot remove a build's container")
    assert told(log, "cannot remove a build's folders")
    operations = await host.database.within(MOBY).read(lambda tx: tx.operations.list())
    assert [operation.id for operation in operations] == ["o1"]


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("found", "removal", "words"),
    [
        ("bridges_on_host", "remove_bridge", "cannot remove a bridge"),
        ("parents_on_host", "remove_parent", "cannot remove a parent link"),
        ("endpoints_on_host", "disconnect", "cannot remove an endpoint"),
    ],
)
async def test_a_link_that_cannot_be_removed(
    host: Machine,
    monkeypatch: pytest.MonkeyPatch,
    log: list[Any],
    found: str,
    removal: str,
    words: str,
) -> None:
    daemon = unstarted(host)
    monkeypatch.setattr(daemon.drivers.bridge, found, names)
    monkeypatch.setattr(daemon.drivers.bridge, removal, stuck)
    await starts(daemon)
    assert told(log, words)


async def test_a_checkpoint_that_outlives_its_daemon(host: Machine) -> None:
    """CRIU leaves the processes as frozen as it has found them, so they are thawed when it is over."""
    await host.add(container())
    await (await host.daemon()).containers.start(ID)
    store, key = host.database.within(MOBY), ContainerKey(MOBY, ID)
    intent = OperationRecord(OperationId("o1"), CHECKPOINT, ID, created_ns=1)
    await store.write(lambda tx: tx.operations.add(intent))
    host.world.frozen.add(key)
    host.world.checkpointing = True
    daemon = unstarted(host)
    await daemon.recover()
    assert key in host.world.frozen
    host.world.checkpointing = False
    async with asyncio.timeout(30):
        while await store.read(lambda tx: tx.operations.list()):  # noqa: ASYNC110 - another task's doing
            await asyncio.sleep(0.01)
    assert key not in host.world.frozen
    await daemon.services.aclose()


@pytest.mark.usefixtures("running")
async def test_a_full_disk_after_a_reboot(host: Machine, log: list[Any]) -> None:
    """The administrator, or a kubelet, makes room through this daemon."""
    pod = replace(POD, boot_id="an earlier one")
    await host.database.within(MOBY).write(lambda tx: tx.sandboxes.add(pod))
    daemon = unstarted(host)
    await daemon.services.load()
    host.world.disk_full = True
    await daemon.services.recover([])
    assert daemon.services.pods.get(pod.id).state is SandboxState.NOT_READY
    assert told(log, "cannot record a pod's end")
    host.world.disk_full = False
    await daemon.services.aclose()


@pytest.mark.usefixtures("running")
async def test_a_pods_first_process_ends_on_a_full_disk(host: Machine, log: list[Any]) -> None:
    daemon = unstarted(host)
    pod = replace(POD, boot_id=daemon.services.pods._boot_id, pause_pid=100)
    await host.database.within(MOBY).write(lambda tx: tx.sandboxes.add(pod))
    await daemon.services.load()
    host.world.disk_full = True
    await daemon.services.recover([])
    async with asyncio.timeout(60):
        while daemon.services.pods.get(pod.id).state is SandboxState.READY:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert told(log, "cannot record a pod's end")
    host.world.disk_full = False
    await daemon.services.aclose()


async def test_no_room_for_dockers_default_networks(
    host: Machine, monkeypatch: pytest.MonkeyPatch, log: list[Any]
) -> None:
    """A VPN's routes over every pool: pods need none of these networks."""
    daemon = unstarted(host)

    async def everything() -> list[str]:
        return ["0.0.0.0/0"]

    monkeypatch.setattr(daemon.drivers.bridge, "host_subnets", everything)
    monkeypatch.setattr(daemon.drivers.oci, "leftovers", nothing)
    monkeypatch.setattr(daemon.drivers.content, "delete", stuck)
    runtime = RuntimeService(daemon.drivers, daemon.settings, None)  # type: ignore[arg-type]
    await runtime.start(follow_policies=False)
    assert told(log, "no default networks")
    assert runtime.within(MOBY).containers.list() == []
    await runtime.aclose()


async def nothing() -> list[str]:
    return []
