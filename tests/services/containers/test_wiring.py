"""What a container shares with another one: IPC with its shared memory, and links."""

from dataclasses import replace
from typing import Any

import pytest

from sharedrt.model.drivers import BundleRequest, ProcessIdentity
from sharedrt.model.faults import FailedPrecondition
from sharedrt.model.records import ContainerRecord, NetworkRequest
from sharedrt.model.spec import NamespaceMode, NamespaceRef
from tests.services.rig import Daemon, Machine, container

DONOR, GUEST = "d" * 64, "e" * 64


def sharing(id: str, ipc: NamespaceRef = NamespaceRef(), **fields: Any) -> ContainerRecord:  # noqa: B008
    record = container(id)
    namespaces = replace(record.spec.namespaces, ipc=ipc)
    return replace(record, spec=replace(record.spec, namespaces=namespaces, **fields))


async def requests(daemon: Daemon, *ids: str) -> list[BundleRequest]:
    """Start them; what the runtime was asked for."""
    asked: list[BundleRequest] = []
    create = daemon.oci.create

    async def note(request: BundleRequest) -> ProcessIdentity:
        asked.append(request)
        return await create(request)

    daemon.oci.create = note  # type: ignore[method-assign]
    for id in ids:
        await daemon.containers.start(id)
    return asked


def shm_of(request: BundleRequest) -> str:
    return next((m.source for m in request.mounts if m.target == "/dev/shm"), "")


async def test_shared_memory_is_the_donor_s(host: Machine) -> None:
    guest = NamespaceRef(NamespaceMode.CONTAINER, DONOR)
    await host.add(sharing(DONOR, shm_shared=True), sharing(GUEST, guest))
    daemon = await host.daemon()
    first, second = await requests(daemon, DONOR, GUEST)
    assert shm_of(first) == shm_of(second)
    assert shm_of(first).endswith(f"{DONOR}/shm")
    assert second.namespace_paths["ipc"] == "/proc/100/ns/ipc"
    await daemon.containers.remove(GUEST, force=True)
    await daemon.containers.remove(DONOR, force=True)
    assert host.world.things == set()


async def test_the_host_s_is_shared_through_one_that_has_it(host: Machine) -> None:
    guest = NamespaceRef(NamespaceMode.CONTAINER, DONOR)
    await host.add(sharing(DONOR, NamespaceRef(NamespaceMode.HOST)), sharing(GUEST, guest))
    asked = await requests(await host.daemon(), DONOR, GUEST)
    assert [shm_of(request) for request in asked] == ["/dev/shm", "/dev/shm"]


async def test_who_keeps_it_private_cannot_be_joined(host: Machine) -> None:
    guest = NamespaceRef(NamespaceMode.CONTAINER, DONOR)
    await host.add(sharing(DONOR), sharing(GUEST, guest))
    daemon = await host.daemon()
    (first,) = await requests(daemon, DONOR)
    assert shm_of(first) == ""
    with pytest.raises(FailedPrecondition, match="non-shareable IPC"):
        await daemon.containers.start(GUEST)


async def test_a_link_is_told_of_in_the_environment(host: Machine) -> None:
    linking = replace(
        container(GUEST, name="app"),
        networks=(NetworkRequest("bridge", links=(f"{DONOR}:db",)),),
    )
    await host.add(container(DONOR, name="other", exposed_ports=("80/tcp",)), linking)
    daemon = await host.daemon()
    with pytest.raises(FailedPrecondition, match="Cannot link to a non running container"):
        await daemon.containers.start(GUEST)
    _, second = await requests(daemon, DONOR, GUEST)
    assert "DB_NAME=/app/db" in second.spec.env
    assert any(v.startswith("DB_PORT_80_TCP=tcp://") for v in second.spec.env)
