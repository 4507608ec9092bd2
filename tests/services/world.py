"""A host in memory whose every step can fail, hang, or be the last that a daemon does.

``World`` is what outlives a daemon; ``Epoch`` is one daemon's hold on it. The drivers here are fakes of the
Protocols in ``model.drivers``; database, services and their wiring are the real ones.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sharedrt.model.drivers import (
    BridgeConfig,
    BundleRequest,
    CniRequest,
    CniResult,
    EndpointConfig,
    ExitStatus,
    ParentConfig,
    ProcessIdentity,
    Usage,
)
from sharedrt.model.faults import FailedPrecondition, Internal, NotFound, ResourceExhausted
from sharedrt.model.ids import ContainerKey, Namespace
from sharedrt.model.records import Json
from sharedrt.model.stores import Database, GlobalTransaction, NamespacedStore, Transaction

T = TypeVar("T")


class Dead(Exception):
    """A daemon that was killed does nothing any more."""


@dataclass
class World:
    """Things by name; an OCI container's process by key."""

    things: set[str] = field(default_factory=set)
    processes: dict[ContainerKey, "asyncio.Future[ExitStatus]"] = field(default_factory=dict)
    stuck: str = ""
    """Things whose names contain this cannot be removed."""
    disk_full: bool = False
    calls: list[str] = field(default_factory=list)
    frozen: set[ContainerKey] = field(default_factory=set)
    checkpointing: bool = False
    """A runtime that the last daemon has started still is."""

    def has(self, word: str) -> list[str]:
        return sorted(thing for thing in self.things if word in thing)


class Epoch:
    """One daemon. ``at`` is the number of the step at which ``what`` happens: ``fail`` (nothing was made),
    ``fail after`` (it was made), ``hang``, ``kill`` and ``kill after``."""

    def __init__(self, world: World, *, at: int = 0, what: str = "") -> None:
        self.world, self.at, self.what = world, at, what
        self.count = 0
        self.armed = False
        self.dead = False
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def step(self, name: str, effect: Callable[[], None]) -> None:
        """Something that changes the world."""
        await asyncio.sleep(0)
        self._check()
        mine = False
        if self.armed:
            self.count += 1
            mine = self.count == self.at
        if mine:
            self.reached.set()
            await self._before(name)
        effect()
        if mine and self.what == "fail after":
            raise Internal(name, "failed after all")
        if mine and self.what == "kill after":
            self.dead = True
            self._check()

    async def _before(self, name: str) -> None:
        match self.what:
            case "fail":
                raise Internal(name, "failed")
            case "hang":
                await self.go_on.wait()
            case "kill":
                self.dead = True
                self._check()

    async def make(self, thing: str) -> None:
        self.world.calls.append(f"make {thing}")
        await self.step(f"make {thing}", lambda: self.world.things.add(thing))

    async def remove(self, thing: str) -> None:
        await asyncio.sleep(0)
        self._check()
        if self.world.stuck and self.world.stuck in thing and thing in self.world.things:
            raise Internal(thing, "is stuck")
        self.world.calls.append(f"remove {thing}")
        self.world.things.discard(thing)

    def _check(self) -> None:
        if self.dead:
            raise Dead


class FakeStore:
    """The real store behind a disk that may be full and a daemon that may be dead."""

    def __init__(self, epoch: Epoch, store: NamespacedStore) -> None:
        self._epoch, self._store = epoch, store

    @property
    def namespace(self) -> Namespace:
        return self._store.namespace

    async def write(self, use_case: Callable[[Transaction], T]) -> T:
        if self._epoch.world.disk_full:
            raise ResourceExhausted("database", "no space left")
        await self._epoch.step("commit", lambda: None)
        return await self._store.write(use_case)

    async def read(self, use_case: Callable[[Transaction], T]) -> T:
        return await self._store.read(use_case)


class FakeDatabase:
    def __init__(self, epoch: Epoch, database: Database) -> None:
        self._epoch, self._database = epoch, database

    def within(self, namespace: Namespace) -> FakeStore:
        return FakeStore(self._epoch, self._database.within(namespace))

    async def write_global(self, use_case: Callable[[GlobalTransaction], T]) -> T:
        return await self._database.write_global(use_case)

    async def read_global(self, use_case: Callable[[GlobalTransaction], T]) -> T:
        return await self._database.read_global(use_case)


class FakeOci:
    """Containers whose processes end when they are signalled with 9 or 15, or when a test says so."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch, self._world = epoch, epoch.world
        self.ignores_term = False
        self.frozen = epoch.world.frozen
        self.default_handler = "crun"
        self.environments: list[tuple[str, ...]] = []
        """What processes were given, in the order of their making."""

    async def require_checkpoints(self, handler: str) -> None:
        assert handler in ("", "crun")

    async def checkpoint(self, key: ContainerKey, folder: Path) -> None:
        assert key in self.frozen
        await self._epoch.make(f"folder {folder}/checkpoint")

    async def checkpointing(self, folder: Path) -> bool:
        return self._world.checkpointing

    def handlers(self) -> Mapping[str, str]:
        return {"crun": "/usr/bin/crun"}

    async def create(self, request: BundleRequest) -> ProcessIdentity:
        await self._epoch.make(f"oci {request.key.id}")
        self.environments.append(request.spec.env)
        self._world.processes[request.key] = asyncio.get_running_loop().create_future()
        return ProcessIdentity(100, 7)

    async def start(self, key: ContainerKey) -> None:
        await self._epoch.step(f"start {key.id}", lambda: None)

    def end(self, key: ContainerKey, code: int, **fields: Any) -> None:
        """The process ends."""
        process = self._world.processes.get(key)
        if process is not None and not process.done():
            process.set_result(ExitStatus(code, time.time_ns(), **fields))

    async def kill(self, key: ContainerKey, signal: int, *, all: bool = False) -> None:
        self._world.calls.append(f"kill {signal}")
        process = self._world.processes.get(key)
        if process is None or process.done():
            raise NotFound("process of container", key.id)
        if signal == 9:
            self.frozen.discard(key)
            self.end(key, 137)
        elif signal == 15 and not self.ignores_term:
            self.end(key, 143)

    async def delete(self, key: ContainerKey) -> None:
        await self._epoch.remove(f"oci {key.id}")
        if (process := self._world.processes.pop(key, None)) is not None and not process.done():
            process.set_result(ExitStatus(137, time.time_ns()))

    async def wait(self, key: ContainerKey, identity: ProcessIdentity) -> ExitStatus:
        process = self._world.processes.get(key)
        if process is None:
            return ExitStatus(137, time.time_ns(), known=False)
        status = await asyncio.shield(process)
        if self._epoch.dead:
            await asyncio.Event().wait()
        return status

    def alive(self, identity: ProcessIdentity) -> bool:
        return any(not process.done() for process in self._world.processes.values())

    async def pause(self, key: ContainerKey) -> None:
        await self._epoch.step("pause", lambda: self.frozen.add(key))

    async def resume(self, key: ContainerKey) -> None:
        if key not in self.frozen:
            raise FailedPrecondition("container", key.id, "is not paused")
        self.frozen.discard(key)

    async def end_lost_execs(self, key: ContainerKey) -> None:
        pass  # its execs end at once

    async def leftovers(self) -> Sequence[ContainerKey]:
        return list(self._world.processes)

    async def attach(self, key: ContainerKey, *, tty: bool) -> Any:
        raise FailedPrecondition("container", key.id, "is not running")


class FakeSnapshots:
    """Mounts of active snapshots."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch

    async def mount(self, directory: str, layers: Sequence[str], **options: object) -> Path:
        await self._epoch.make(f"mount {directory}")
        return Path("/rootfs") / directory

    async def unmount(self, directory: str) -> None:
        await self._epoch.remove(f"mount {directory}")

    async def remove_active(self, directory: str) -> None:
        await self.unmount(directory)

    def upper_path(self, directory: str) -> Path:
        return Path("/active") / directory / "fs"

    async def usage(self, directory: str) -> Usage:
        return Usage(0, 0)

    async def actives_on_disk(self) -> Sequence[str]:
        return []

    async def layers_on_disk(self) -> Sequence[str]:
        return []


class FakeHost:
    """Folders."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch, self._world = epoch, epoch.world

    async def write(self, folder: Path, files: Mapping[str, bytes], *, mode: int = 0o644) -> None:
        await self._epoch.make(f"folder {folder}")

    async def make_folder(
        self, path: Path, *, mode: int = 0o755, owner: tuple[int, int] | None = None
    ) -> None:
        await self._epoch.make(f"folder {path}")

    async def relabel(self, path: Path, label: str, *, shared: bool) -> None:
        await self._epoch.make(f"label {path} {label} {shared}")

    async def mount_tmpfs(self, path: Path, *, size_bytes: int, mode: int = 0o1777) -> None:
        await self._epoch.make(f"folder {path}")

    async def remove_tree(self, path: Path) -> None:
        for thing in self._world.has(f"folder {path}"):
            await self._epoch.remove(thing)

    async def names(self, folder: Path) -> Sequence[str]:
        prefix = f"folder {folder}/"
        return sorted(
            {thing.removeprefix(prefix).split("/")[0] for thing in self._world.has(prefix)}
        )

    async def exists(self, path: Path) -> bool:
        return os.path.exists(path)  # noqa: ASYNC240 - of pins, which are real


class FakeNamespaces:
    """Pins: real files, since networks look whether they are there."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch

    async def create(
        self, directory: Path, kinds: frozenset[str], **options: object
    ) -> Mapping[str, Path]:
        await self._epoch.make(f"pins {directory}")
        for kind in kinds:
            _touch(directory / kind)
        return {kind: directory / kind for kind in kinds}

    async def remove(self, directory: Path) -> None:
        await self._epoch.remove(f"pins {directory}")
        shutil.rmtree(directory, ignore_errors=True)


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


class FakeBridges:
    """Bridges and what is plugged into them."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch, self._world = epoch, epoch.world

    async def ensure_bridge(self, config: BridgeConfig) -> None:
        self._world.calls.append(f"ensure {config.name}")

    async def remove_bridge(self, name: str) -> None:
        self._world.calls.append(f"remove bridge {name}")

    async def ensure_parent(self, config: ParentConfig) -> None:
        self._world.calls.append(f"ensure parent {config.name}")

    async def remove_parent(self, name: str) -> None:
        self._world.calls.append(f"remove parent {name}")

    async def parents_on_host(self) -> Sequence[str]:
        return []

    async def connect(self, config: EndpointConfig) -> None:
        await self._epoch.make(f"veth {config.id}")

    async def disconnect(self, config: EndpointConfig) -> None:
        await self._epoch.remove(f"veth {config.id}")

    async def endpoints_on_host(self) -> Sequence[str]:
        return [thing.removeprefix("veth ") for thing in self._world.has("veth ")]

    async def bridges_on_host(self) -> Sequence[str]:
        return []

    async def host_port_free(self, protocol: str, address: str, port: int) -> bool:
        return True

    async def rules_changed(self) -> None:
        await asyncio.Event().wait()

    async def host_subnets(self) -> Sequence[str]:
        return []


class FakePodCgroups:
    """Marks, each with the container that it stands for."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch, self._world = epoch, epoch.world

    async def mark_pod(self, parent: str, id: str, shown: str) -> None:
        await self.unmark_pod(parent, id)
        await self._epoch.make(f"mark {parent}/{id} {shown}")

    async def pod_mark(self, parent: str, id: str) -> str:
        marks = self._world.has(f"mark {parent}/{id}")
        return marks[0].rpartition(" ")[2] if marks else ""

    async def unmark_pod(self, parent: str, id: str) -> None:
        for thing in self._world.has(f"mark {parent}/{id}"):
            await self._epoch.remove(thing)


class FakeCni:
    """A plugin that keeps an attachment until DEL is called with its sandbox."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch, self._world = epoch, epoch.world
        self.name = "net"

    def configured(self) -> str:
        return self.name

    def problem(self) -> str:
        return ""

    async def add(self, request: CniRequest) -> CniResult:
        await self._epoch.make(f"cni {request.container_id}")
        return CniResult(("10.1.0.2/24",), {"ips": []})

    async def delete(self, request: CniRequest, previous: Json) -> None:
        self._world.calls.append(f"DEL {request.container_id}")
        await self._epoch.remove(f"cni {request.container_id}")


class FakeUnpacker:
    """Layers are three bytes."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch

    async def diff(
        self, upper: Path, sink: Callable[[bytes], Awaitable[None]], **options: object
    ) -> None:
        await self._epoch.step(f"diff {upper}", lambda: None)
        await sink(b"tar")


class FakeCheckpoints:
    """Archives are things, and hold what their folder held."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch

    async def write(self, folder: Path, target: Path) -> None:
        parts = len(self._epoch.world.has(f"folder {folder}/"))
        await self._epoch.make(f"archive {target} of {parts}")

    @asynccontextmanager
    async def file(self, path: Path) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        async def sink(data: bytes) -> None:
            await self._epoch.make(f"folder {path}")

        yield sink
