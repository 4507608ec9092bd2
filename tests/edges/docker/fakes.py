"""A runtime for tests of the Docker door: real translation and rendering, but nothing runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sharedrt.model.drivers import CgroupStats, LogLine, LogQuery, Usage
from sharedrt.model.faults import (
    AlreadyDone,
    AlreadyExists,
    FailedPrecondition,
    FailureWords,
    Fault,
    InvalidArgument,
    NotFound,
    StartFailed,
)
from sharedrt.model.ids import ContainerId, Digest, ExecId, NetworkId, SnapshotKey, new_id
from sharedrt.model.records import (
    ContainerRecord,
    ContainerState,
    Descriptor,
    EndpointRecord,
    EventRecord,
    ExecRecord,
    NetworkRecord,
    VolumeRecord,
)
from sharedrt.model.spec import Resources
from sharedrt.model.stdio import StdStream
from sharedrt.services.builds.cache import CacheEntry
from sharedrt.services.contracts import (
    ContainerStats,
    HostInfo,
    LayerFolders,
    NewContainer,
    NewExec,
    WaitCondition,
)
from sharedrt.services.images import Image
from sharedrt.services.volumes import NewVolume
from sharedrt.wire.oci_image import ImageConfig
from sharedrt.wire.reference import parse_reference

HOST = HostInfo(
    hostname="node",
    kernel="6.1.0",
    operating_system="Debian GNU/Linux 12 (bookworm)",
    os_version="12",
    architecture="amd64",
    machine="x86_64",
    cpus=4,
    memory_bytes=8 << 30,
    version="0.1.0",
    git_commit="",
    go_os="linux",
    started_ns=1,
    cgroup_version=2,
    cgroup_driver="cgroupfs",
    storage_driver="overlay2",
    storage_status=(("Backing Filesystem", "extfs"),),
    state_dir="/var/lib/sharedrt",
    default_runtime="crun",
    runtimes={"crun": "/usr/bin/crun", "runc": "/usr/sbin/runc"},
    security_options=("name=seccomp,profile=builtin",),
    components=(("crun", "1.8"), ("conmon", "2.1")),
    problems=(),
    instance_id="instance",
)


class FakeStdio:
    """Echoes its input, or plays what the test puts into ``output``."""

    def __init__(self, *, tty: bool = False, echo: bool = False) -> None:
        self._tty, self._echo = tty, echo
        self.output: asyncio.Queue[tuple[StdStream, bytes] | None] = asyncio.Queue()
        self.written = bytearray()
        self.stdin_closed = False
        self.closed = False
        self.sizes: list[tuple[int, int]] = []
        self.exit_code = 0

    @property
    def tty(self) -> bool:
        return self._tty

    async def read(self) -> tuple[StdStream, bytes] | None:
        return await self.output.get()

    async def write(self, data: bytes) -> None:
        if self.stdin_closed:
            raise FailedPrecondition("stdin", "", "is closed")
        self.written += data
        if self._echo:
            self.output.put_nowait((StdStream.STDOUT, data))

    async def close_stdin(self) -> None:
        if not self.stdin_closed:
            self.stdin_closed = True
            if self._echo:
                self.output.put_nowait(None)

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def wait(self) -> int:
        return self.exit_code

    async def close(self) -> None:
        self.closed = True

    async def __aenter__(self) -> "FakeStdio":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class FakeContainers:
    def __init__(self, images: "FakeImages", events: "FakeEvents") -> None:
        self.records: dict[str, ContainerRecord] = {}
        self.requests: list[NewContainer] = []
        self.session = FakeStdio()
        self.start_fault: Fault | None = None
        self.lines: list[list[LogLine]] = []
        self.log_query: LogQuery | None = None
        self.follow_forever = False
        self.stopped_with: tuple[float | None, str] | None = None
        self.networks: dict[str, list[EndpointRecord]] = {}
        self.restarting_ids: set[str] = set()
        self.wait_condition: WaitCondition | None = None
        self._images, self._events = images, events
        self._changed = asyncio.Event()

    async def create(self, request: NewContainer) -> ContainerRecord:
        self.requests.append(request)
        for record in self.records.values():
            if record.name == request.name:
                raise AlreadyExists("container", request.name, record.id)
        image = self._images.get(request.image)
        record = ContainerRecord(
            id=request.id or ContainerId(new_id()),
            name=request.name,
            image_reference=request.image,
            image_id=image.id,
            spec=request.spec,
            labels=request.labels,
            extensions=request.extensions,
            networks=request.networks,
            ports=request.ports,
            auto_remove=request.auto_remove,
            restart_policy=request.restart_policy,
            log_path="/logs/x" if request.keep_log else "",
            created_ns=time.time_ns(),
        )
        self.records[record.id] = record
        return record

    def put(self, record: ContainerRecord) -> ContainerRecord:
        self.records[record.id] = record
        self._changed.set()
        return record

    async def start(self, id: ContainerId, *, words: FailureWords = str) -> None:
        record = self.by_id(id)
        if self.start_fault:
            self.put(
                replace(
                    record,
                    state=ContainerState.EXITED,
                    exit_code=128,
                    reason="StartError",
                    message=words(self.start_fault),
                    finished_ns=time.time_ns(),
                )
            )
            raise self.start_fault
        if record.state is ContainerState.RUNNING:
            raise AlreadyDone("container", id, "running")
        self.put(replace(record, state=ContainerState.RUNNING, pid=4321, started_ns=time.time_ns()))

    def end(self, id: str, code: int) -> None:
        """The container's process ends."""
        record = self.by_id(id)
        self.put(
            replace(
                record,
                state=ContainerState.EXITED,
                exit_code=code,
                pid=0,
                finished_ns=time.time_ns(),
            )
        )
        self.session.output.put_nowait(None)

    async def stop(
        self, id: ContainerId, *, grace_s: float | None = None, signal: str = ""
    ) -> None:
        self.stopped_with = (grace_s, signal)
        if self.by_id(id).state is not ContainerState.RUNNING:
            raise AlreadyDone("container", id, "stopped")
        self.end(id, 137)

    async def restart(
        self,
        id: ContainerId,
        *,
        grace_s: float | None = None,
        signal: str = "",
        words: FailureWords = str,
    ) -> None:
        self.stopped_with = (grace_s, signal)

    async def kill(self, id: ContainerId, signal: str = "SIGKILL") -> None:
        if signal == "NOPE":
            raise InvalidArgument("signal", signal, "unknown")
        if self.by_id(id).state is not ContainerState.RUNNING:
            raise FailedPrecondition("container", id, "is not running")
        self.end(id, 137)

    async def pause(self, id: ContainerId) -> None:
        record = self.by_id(id)
        if record.paused:
            raise FailedPrecondition("container", id, "is already paused")
        self.put(replace(record, paused=True))

    async def unpause(self, id: ContainerId) -> None:
        record = self.by_id(id)
        if not record.paused:
            raise FailedPrecondition("container", id, "is not paused")
        self.put(replace(record, paused=False))

    async def remove(self, id: ContainerId, *, force: bool = False, volumes: bool = False) -> None:
        if self.by_id(id).state is ContainerState.RUNNING and not force:
            raise FailedPrecondition("container", id, "is running")
        del self.records[id]
        self._changed.set()

    async def rename(self, id: ContainerId, name: str) -> None:
        if any(record.name == name for record in self.records.values()):
            raise AlreadyExists("container", name, "f" * 64)
        self.put(replace(self.by_id(id), name=name))

    async def update(self, id: ContainerId, resources: Resources) -> None:
        record = self.by_id(id)
        self.put(replace(record, spec=replace(record.spec, resources=resources)))

    async def change(
        self, id: ContainerId, edit: Callable[[ContainerRecord], ContainerRecord]
    ) -> ContainerRecord:
        return self.put(edit(self.by_id(id)))

    def get(self, ref: str) -> ContainerRecord:
        records = self.records.values()
        named = [r for r in records if ref in (r.id, r.name, f"/{r.name}")]
        for record in named or [r for r in records if r.id.startswith(ref)]:
            return record
        raise NotFound("container", ref)

    def by_id(self, id: str) -> ContainerRecord:
        if id not in self.records:
            raise NotFound("container", id)
        return self.records[id]

    def list(self) -> Sequence[ContainerRecord]:
        return list(self.records.values())

    async def wait(
        self, id: ContainerId, condition: WaitCondition = WaitCondition.NOT_RUNNING
    ) -> ContainerRecord:
        self.wait_condition = condition
        record = self.by_id(id)
        if condition is WaitCondition.NOT_RUNNING and record.state is ContainerState.EXITED:
            return record
        while True:
            self._changed.clear()
            await self._changed.wait()
            current = self.records.get(id)
            if condition is WaitCondition.REMOVED:
                if current is None:
                    return record
            elif current is not None and current.state is ContainerState.EXITED:
                return current

    async def attach(self, id: ContainerId) -> FakeStdio:
        self.by_id(id)
        return self.session

    async def resize(self, id: ContainerId, width: int, height: int) -> None:
        if self.by_id(id).state is not ContainerState.RUNNING:
            raise FailedPrecondition("container", id, "is not running")
        self.session.sizes.append((width, height))

    async def processes(self, id: ContainerId) -> Sequence[int]:
        raise FailedPrecondition("container", id, "is not running")

    async def stats(self, id: ContainerId, *, writable: bool = True) -> ContainerStats:
        if self.by_id(id).state is not ContainerState.RUNNING:
            raise FailedPrecondition("container", id, "is not running")
        return ContainerStats(id, CgroupStats(time_ns=time.time_ns()), (), None)

    async def usage(self, id: ContainerId) -> Usage:
        return Usage(4096, 1, 100)

    def restarting(self, id: ContainerId) -> bool:
        return id in self.restarting_ids

    async def logs(self, id: ContainerId, query: LogQuery) -> AsyncIterator[Sequence[LogLine]]:
        self.log_query = query
        for batch in self.lines:
            yield batch
        if query.follow and self.follow_forever:
            await asyncio.Event().wait()

    async def reopen_log(self, id: ContainerId) -> None:
        raise AssertionError("not Docker's business")

    async def layers(self, id: ContainerId) -> LayerFolders:
        return LayerFolders(("/l2", "/l1"), "/a/fs", "/a/work", "/a/rootfs")

    def files_folder(self, id: ContainerId) -> str:
        return f"/run/sharedrt/{id}"

    def endpoints(self, id: ContainerId) -> Sequence[EndpointRecord]:
        return self.networks.get(id, [])


class FakeExecs:
    def __init__(self, containers: FakeContainers) -> None:
        self.records: dict[str, ExecRecord] = {}
        self.session = FakeStdio(echo=True)
        self.start_fault: Exception | None = None
        self.size: tuple[int, int] | None = None
        self._containers = containers

    async def create(self, request: NewExec) -> ExecRecord:
        record = self._containers.by_id(request.container_id)
        if record.state is not ContainerState.RUNNING:
            raise FailedPrecondition("container", record.id, "is not running")
        created = ExecRecord(
            id=ExecId(new_id()),
            container_id=request.container_id,
            args=request.args,
            tty=request.tty,
            attach_stdin=request.attach_stdin,
            attach_stdout=request.attach_stdout,
            attach_stderr=request.attach_stderr,
            detach_keys=request.detach_keys,
        )
        self.records[created.id] = created
        return created

    async def start(
        self, id: ExecId, *, detach: bool = False, size: tuple[int, int] | None = None
    ) -> FakeStdio | None:
        self.size = size
        if self.start_fault:
            code = getattr(self.start_fault, "exit_code", 126)
            self.records[id] = replace(self.get(id), exit_code=code)
            raise self.start_fault
        self.records[id] = replace(self.get(id), exit_code=0)
        return None if detach else self.session

    async def resize(self, id: ExecId, width: int, height: int) -> None:
        self.session.sizes.append((width, height))

    def get(self, id: str) -> ExecRecord:
        if id not in self.records:
            raise NotFound("exec", id)
        return self.records[id]

    def of_container(self, id: ContainerId) -> Sequence[ExecRecord]:
        return [record for record in self.records.values() if record.container_id == id]


def make_image(
    name: str = "docker.io/library/busybox:latest", config: Mapping[str, Any] | None = None
) -> Image:
    """An image of one layer, whose id follows from its name."""
    inner = {"Cmd": ["sh"], "Env": ["PATH=/bin"], **(config or {})}
    digit = f"{sum(name.encode()) % 16:x}"
    id = Digest("sha256:" + digit * 64)
    layer = "sha256:" + "b" * 64
    return Image(
        id=id,
        target=Descriptor("application/vnd.oci.image.manifest.v1+json", id, 500),
        manifest=id,
        references=(name,),
        config=ImageConfig(
            architecture="amd64",
            os="linux",
            diff_ids=(Digest(layer),),
            created="2024-01-02T03:04:05Z",
            cmd=tuple(inner["Cmd"] or ()),
            env=tuple(inner["Env"]),
            labels=inner.get("Labels") or {},
            raw={"config": inner, "architecture": "amd64", "os": "linux"},
        ),
        layers=(SnapshotKey(layer),),
        content_size_bytes=700,
        unpacked_size_bytes=2000,
    )


class FakeImages:
    def __init__(self) -> None:
        self.images = [make_image()]
        self.pull_steps: list[Any] = []
        self.pull_fault: Exception | None = None
        self.pulled: tuple[str, Any, str | None] | None = None

    def get(self, ref: str) -> Image:
        for image in self.images:
            if ref.removeprefix("sha256:") == image.id.removeprefix("sha256:"):
                return image
            try:
                if str(parse_reference(ref)) in image.references:
                    return image
            except InvalidArgument:
                continue
        raise NotFound("image", ref)

    def select(self, ref: str) -> Sequence[Image]:
        return [self.get(ref)]

    def list(self) -> Sequence[Image]:
        return list(self.images)

    async def pull(
        self,
        reference: str,
        *,
        credentials: Any = None,
        platform: str | None = None,
        progress: Callable[[Any], None] | None = None,
    ) -> Image:
        self.pulled = (reference, credentials, platform)
        for step in self.pull_steps:
            assert progress is not None
            progress(step)
            await asyncio.sleep(0)
        if self.pull_fault:
            raise self.pull_fault
        return self.images[0]

    async def remote_tags(self, name: str, **_: Any) -> Sequence[str]:
        return ["latest"]

    async def inspect_remote(self, reference: str, **_: Any) -> tuple[Descriptor, Sequence[str]]:
        raise NotFound("image", reference)

    async def load(self, chunks: AsyncIterator[bytes], **_: Any) -> Sequence[Any]:
        async for _chunk in chunks:
            pass
        raise InvalidArgument("archive", "", "no manifest.json")

    def layer_sizes(self, image: Image) -> Sequence[tuple[str, int]]:
        return [(key, 2000) for key in image.layers]


class FakeNetworks:
    def __init__(self) -> None:
        self.records = [
            NetworkRecord(
                NetworkId("1" * 64),
                "bridge",
                "bridge",
                subnets=("172.29.0.0/16",),
                gateways=("172.29.0.1",),
            ),
            NetworkRecord(NetworkId("2" * 64), "host", "host"),
            NetworkRecord(NetworkId("3" * 64), "none", "none"),
        ]
        self.users: dict[str, list[EndpointRecord]] = {}

    def get(self, ref: str) -> NetworkRecord:
        for record in self.records:
            if ref in (record.id, record.name):
                return record
        raise NotFound("network", ref)

    def list(self) -> Sequence[NetworkRecord]:
        return list(self.records)

    def endpoints_on(self, network: str) -> Sequence[EndpointRecord]:
        return self.users.get(network, [])


class FakeVolumes:
    def __init__(self) -> None:
        self.records: dict[str, VolumeRecord] = {}

    def get(self, name: str) -> VolumeRecord:
        if name not in self.records:
            raise NotFound("volume", name)
        return self.records[name]

    def list(self) -> Sequence[VolumeRecord]:
        return list(self.records.values())

    def users(self, name: str) -> Sequence[str]:
        return ()

    def mountpoint(self, name: str) -> Path:
        return Path("/volumes", name)

    async def create(self, volume: NewVolume) -> VolumeRecord:
        record = VolumeRecord(volume.name, labels=volume.labels, options=volume.options)
        self.records[record.name] = record
        return record

    async def remove(self, name: str) -> None:
        del self.records[name]

    async def prune(self, wanted: Callable[[VolumeRecord], bool]) -> tuple[Sequence[str], int]:
        names = [record.name for record in self.list() if wanted(record)]
        for name in names:
            del self.records[name]
        return names, 7

    async def usage(self, name: str) -> Usage:
        return Usage(7, 1)


class FakeEvents:
    def __init__(self) -> None:
        self.published: list[tuple[str, str, str, dict[str, str]]] = []
        self.stored: list[EventRecord] = []
        self.bounds: tuple[int | None, int | None] | None = None

    async def publish(
        self, kind: str, action: str, actor: str, attributes: Mapping[str, str]
    ) -> EventRecord:
        self.published.append((kind, action, actor, dict(attributes)))
        return EventRecord(len(self.published), time.time_ns(), kind, action, actor, attributes)

    @asynccontextmanager
    async def subscribe(
        self, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> AsyncIterator[AsyncIterator[EventRecord]]:
        self.bounds = (since_ns, until_ns)

        async def events() -> AsyncIterator[EventRecord]:
            for record in self.stored:
                yield record

        yield events()


class FakeBuilds:
    """Builds nothing; its cache holds what the test puts into ``kept``."""

    def __init__(self) -> None:
        self.kept: list[CacheEntry] = []
        self.cache = self

    async def build(self, request: object, chunks: AsyncIterator[bytes], tell: object) -> Image:
        async for _chunk in chunks:
            pass
        raise InvalidArgument("archive", "", "is no tar")

    async def entries(self) -> Sequence[CacheEntry]:
        return self.kept

    async def prune(
        self, chosen: Callable[[CacheEntry], bool], *, keep_bytes: int
    ) -> tuple[Sequence[str], int]:
        gone = [entry for entry in self.kept if chosen(entry)]
        self.kept = [entry for entry in self.kept if entry not in gone]
        return [entry.id for entry in gone], sum(entry.size_bytes for entry in gone)


class FakeRuntime:
    """All that the door asks of one namespace."""

    namespace = "moby"

    def __init__(self) -> None:
        self.images = FakeImages()
        self.events = FakeEvents()
        self.containers = FakeContainers(self.images, self.events)
        self.execs = FakeExecs(self.containers)
        self.networks = FakeNetworks()
        self.volumes = FakeVolumes()
        self.builds = FakeBuilds()


def start_failed(code: int = 127) -> StartFailed:
    return StartFailed(
        "x", "crun: executable file `nope` not found in $PATH: No such file or directory", code
    )
