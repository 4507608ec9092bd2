"""One namespace's services over the real database and the fakes of ``world``."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from sharedrt.drivers.content import FileContentStore
from sharedrt.drivers.volumes import LocalVolumeFolders
from sharedrt.model.ids import ContainerId, Digest, Namespace, SnapshotKey
from sharedrt.model.records import (
    ContainerRecord,
    NetworkRequest,
    SandboxSpec,
    SnapshotKind,
    SnapshotRecord,
)
from sharedrt.model.spec import ContainerSpec, NamespaceMode, NamespaceRef, Namespaces
from sharedrt.model.stores import Transaction
from sharedrt.services.contracts import NewSandbox
from sharedrt.services.events import EventBus
from sharedrt.services.images import ImageHost
from sharedrt.services.namespace import NamespaceServices
from sharedrt.services.networks import NetworkSettings
from sharedrt.services.parts import Drivers, RuntimeSettings
from sharedrt.store.database import SqliteDatabase
from tests.fakes.name_servers import NameServersMemory
from tests.services.world import (
    Epoch,
    FakeBridges,
    FakeCheckpoints,
    FakeCni,
    FakeDatabase,
    FakeHost,
    FakeNamespaces,
    FakeOci,
    FakePodCgroups,
    FakeSnapshots,
    FakeUnpacker,
    World,
)

MOBY = Namespace("moby")
ID = ContainerId("c" * 64)


class Daemon:
    """What a test drives: services, and the fakes below them."""

    def __init__(
        self, folder: Path, database: SqliteDatabase, epoch: Epoch, boot_id: str = "boot"
    ) -> None:
        self.epoch, self.world = epoch, epoch.world
        self.oci = FakeOci(epoch)
        self.cni = FakeCni(epoch)
        self.cgroups = FakePodCgroups(epoch)
        content, snapshots = FileContentStore(folder / "content"), FakeSnapshots(epoch)
        fakes: Any = None
        drivers = Drivers(
            database=cast(Any, FakeDatabase(epoch, database)),
            content=content,
            snapshotter=cast(Any, snapshots),
            unpacker=cast(Any, FakeUnpacker(epoch)),
            archiver=fakes,
            volumes=LocalVolumeFolders(),
            users=fakes,
            registry=fakes,
            oci=cast(Any, self.oci),
            host=cast(Any, FakeHost(epoch)),
            namespaces=cast(Any, FakeNamespaces(epoch)),
            cgroups=self.cgroups,
            bridge=cast(Any, FakeBridges(epoch)),
            name_servers=NameServersMemory(),
            cni=self.cni,
            logs=fakes,
            checkpoints=cast(Any, FakeCheckpoints(epoch)),
            log_rotator=fakes,
            log_forwarder=fakes,
            downloader=fakes,
            git=fakes,
        )
        settings = RuntimeSettings(
            state_dir=Path("/state"),
            run_dir=folder / "run",
            cgroup_root="sharedrt",
            systemd_cgroups=False,
            catatonit="/usr/bin/catatonit",
            boot_id=boot_id,
            platform="linux/amd64",
            networks=NetworkSettings(),
            max_downloads=1,
            max_uploads=1,
            image_bytes_max=1,
        )
        self.drivers, self.settings = drivers, settings
        image_host = ImageHost(drivers.database, content, drivers.snapshotter, fakes, fakes)
        self.services = NamespaceServices(MOBY, drivers, settings, image_host, EventBus())

    @property
    def containers(self) -> Any:
        return self.services.containers

    async def recover(self) -> None:
        """As at a start."""
        await self.services.load()
        traces = [key.id for key in await self.oci.leftovers()]
        for id in traces:
            if not self.services.owns(id):
                await self.oci.delete(next(k for k in self.world.processes if k.id == id))
        await self.services.recover(traces)
        await self.services.networks.ensure_defaults()
        self.services.resume()


class Machine:
    """Database and world, which outlive daemons."""

    def __init__(self, folder: Path, database: SqliteDatabase) -> None:
        self.folder, self.database = folder, database
        self.world = World()
        self._daemons: list[Daemon] = []

    async def add(self, *records: ContainerRecord) -> None:
        """Rows of containers, as ``create`` writes them."""

        def insert(tx: Transaction) -> None:
            for record in records:
                tx.snapshots.add(
                    SnapshotRecord(
                        SnapshotKey(record.id), SnapshotKind.ACTIVE, None, f"moby@{record.id}"
                    )
                )
                tx.containers.add(record)

        await self.database.within(MOBY).write(insert)

    async def daemon(self, *, at: int = 0, what: str = "", boot_id: str = "boot") -> Daemon:
        """A started daemon; its ``at``-th step from now on is the one that ``what`` speaks of."""
        epoch = Epoch(self.world, at=at, what=what)
        made = Daemon(self.folder, self.database, epoch, boot_id)
        self._daemons.append(made)
        await made.recover()
        epoch.armed = True
        return made

    async def aclose(self) -> None:
        for made in self._daemons:
            await made.services.aclose()


_migrated: list[bytes] = []
"""A new database file's bytes: migrations take longer than most tests."""


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Machine]:
    os.makedirs(folder, exist_ok=True)
    if not _migrated:
        async with await SqliteDatabase.open(folder / "new.db"):
            pass
        _migrated.append(read_file(folder / "new.db"))
    write_file(folder / "test.db", _migrated[0])
    async with await SqliteDatabase.open(folder / "test.db") as database:
        made = Machine(folder, database)
        try:
            yield made
        finally:
            await made.aclose()


def read_file(path: Path) -> bytes:
    return path.read_bytes()


def write_file(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def container(id: str = ID, **fields: Any) -> ContainerRecord:
    """A Docker container on the bridge network."""
    spec = ContainerSpec(
        namespaces=Namespaces(network=NamespaceRef(NamespaceMode.PRIVATE)), args=("true",)
    )
    return ContainerRecord(
        ContainerId(id),
        fields.pop("name", f"name-{id[:4]}"),
        "docker.io/library/busybox:latest",
        Digest(""),
        spec,
        snapshot_key=SnapshotKey(id),
        **{
            "networks": (NetworkRequest("bridge"),),
            "log_path": f"/state/containers/moby/{id}/container.log",
            **fields,
        },
    )


def sandbox(name: str = "web", **fields: Any) -> NewSandbox:
    return NewSandbox(
        name=name,
        uid="uid",
        pod_namespace="default",
        attempt=0,
        spec=SandboxSpec(**{"hostname": name, "share_pid": True, **fields}),
    )


def actions(events: Sequence[Any]) -> list[str]:
    return [event.action for event in events]
