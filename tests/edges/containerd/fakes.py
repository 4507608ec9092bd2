"""Small fakes of the services behind this door: records in memory, the contract's faults."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sharedrt.model.drivers import Usage
from sharedrt.model.faults import (
    AlreadyDone,
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    Fault,
    InUse,
    NotFound,
)
from sharedrt.model.ids import ContainerId, Digest, LeaseId, Namespace, SnapshotKey
from sharedrt.model.records import (
    BlobRecord,
    ContainerRecord,
    ContainerState,
    Descriptor,
    EventRecord,
    ImageRecord,
    LeaseRecord,
    NamespaceRecord,
    SandboxRecord,
)
from sharedrt.services.contracts import HostInfo
from sharedrt.services.images import Image, LoadedImage, PullProgress
from sharedrt.services.images.image import RemovedImage
from sharedrt.wire.oci_image import ImageConfig

HOST = HostInfo(
    hostname="node",
    kernel="6.1",
    operating_system="Debian",
    os_version="12",
    architecture="amd64",
    machine="x86_64",
    cpus=2,
    memory_bytes=1 << 30,
    version="0.1.0",
    git_commit="abcdef0",
    go_os="linux",
    started_ns=1,
    cgroup_version=2,
    cgroup_driver="cgroupfs",
    storage_driver="overlayfs",
    storage_status=(),
    state_dir="/var/lib/sharedrt",
    default_runtime="crun",
    runtimes={"crun": "/usr/bin/crun", "runc": "/usr/bin/runc"},
    security_options=(),
    components=(),
    problems=(),
    instance_id="11111111-2222-3333-4444-555555555555",
)


class FakeContainers:
    def __init__(self) -> None:
        self.records: dict[str, ContainerRecord] = {}
        self.calls: list[tuple[str, ...]] = []

    def add(self, record: ContainerRecord) -> ContainerRecord:
        self.records[record.id] = record
        return record

    def list(self) -> Sequence[ContainerRecord]:
        return list(self.records.values())

    def by_id(self, id: str) -> ContainerRecord:
        if id not in self.records:
            raise NotFound("container", id)
        return self.records[id]

    async def kill(self, id: ContainerId, signal: str = "SIGKILL") -> None:
        self.calls.append(("kill", id, signal))

    async def pause(self, id: ContainerId) -> None:
        self.records[id] = replace(self.by_id(id), paused=True)

    async def unpause(self, id: ContainerId) -> None:
        self.records[id] = replace(self.by_id(id), paused=False)

    async def stop(self, id: ContainerId) -> None:
        if self.by_id(id).state is not ContainerState.RUNNING:
            raise AlreadyDone("container", id, "stopped")
        self.records[id] = replace(self.by_id(id), state=ContainerState.EXITED)

    async def wait(self, id: ContainerId) -> ContainerRecord:
        return replace(self.by_id(id), exit_code=7, finished_ns=5_000)

    async def usage(self, id: ContainerId) -> Usage:
        return Usage(100, 2)

    async def processes(self, id: ContainerId) -> Sequence[int]:
        return [self.by_id(id).pid, 4343]


class FakeIngest:
    def __init__(self, blobs: dict[str, bytes], partial: dict[str, bytes], ref: str) -> None:
        self._blobs, self._partial, self._ref = blobs, partial, ref

    @property
    def offset(self) -> int:
        return len(self._partial.get(self._ref, b""))

    async def write(self, data: bytes) -> None:
        self._partial[self._ref] = self._partial.get(self._ref, b"") + data

    async def truncate(self) -> None:
        self._partial[self._ref] = b""

    async def commit(self, expected: Digest | None, size: int | None) -> tuple[Digest, int]:
        data = self._partial.pop(self._ref, b"")
        digest = Digest("sha256:" + hashlib.sha256(data).hexdigest())
        if expected and digest != expected:
            raise DataLoss(expected, f"has digest {digest}")
        if size is not None and len(data) != size:
            raise DataLoss(digest, f"has {len(data)} bytes, not {size}")
        self._blobs[digest] = data
        return digest, len(data)


class FakeContent:
    """Bytes in memory; ``partial`` outlives a broken call, as the real store's ingests do."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.partial: dict[str, bytes] = {}
        self.records: dict[str, BlobRecord] = {}

    async def info(self, digest: Digest) -> BlobRecord:
        if digest not in self.records:
            raise NotFound("content", digest)
        return self.records[digest]

    async def list(self) -> Sequence[BlobRecord]:
        return list(self.records.values())

    async def read(
        self, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        data = self.blobs[digest][offset:]
        yield data if length is None else data[:length]

    async def set_labels(self, digest: Digest, labels: Mapping[str, str]) -> BlobRecord:
        self.records[digest] = replace(await self.info(digest), labels=dict(labels))
        return self.records[digest]

    async def delete(self, digest: Digest) -> None:
        await self.info(digest)
        del self.records[digest]

    @asynccontextmanager
    async def ingest(self, reference: str) -> AsyncIterator[FakeIngest]:
        yield FakeIngest(self.blobs, self.partial, reference)

    async def grant(self, digest: Digest, size: int, labels: Mapping[str, str]) -> BlobRecord:
        record = BlobRecord(digest, size, labels=dict(labels), created_ns=time.time_ns())
        return self.records.setdefault(digest, record)


class FakeLeases:
    def __init__(self) -> None:
        self.records: dict[str, LeaseRecord] = {}

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        if record.id in self.records:
            raise AlreadyExists("lease", record.id)
        self.records[record.id] = record
        return record

    async def delete(self, id: LeaseId) -> None:
        if self.records.pop(id, None) is None:
            raise NotFound("lease", id)

    async def list(self) -> Sequence[LeaseRecord]:
        return list(self.records.values())

    async def add_resource(self, id: LeaseId, kind: str, resource: str) -> None:
        if id not in self.records:
            raise NotFound("lease", id)
        old = self.records[id]
        self.records[id] = replace(old, resources=(*old.resources, (kind, resource)))

    async def delete_resource(self, id: LeaseId, kind: str, resource: str) -> None:
        old = self.records[id]
        kept = tuple(r for r in old.resources if r != (kind, resource))
        self.records[id] = replace(old, resources=kept)


class FakeImages:
    """``complete``: digests of targets whose content is all there, so that they can be registered."""

    def __init__(self) -> None:
        self.names: dict[str, ImageRecord] = {}
        self.complete: set[str] = set()
        self.released: list[set[Digest]] = []
        self.swept = 0
        self.steps: list[PullProgress] = []
        self.pulled: list[tuple[str, str | None]] = []
        self.archives: list[bytes] = []
        self.failure: Fault | None = None

    def image_of(self, record: ImageRecord) -> Image:
        names = tuple(r.reference for r in self.names.values() if r.image_id == record.image_id)
        return Image(
            id=record.image_id,
            target=record.target,
            manifest=record.manifest,
            references=names,
            config=ImageConfig("amd64", "linux", ()),
            layers=(SnapshotKey("sha256:top"), SnapshotKey("sha256:base")),
            content_size_bytes=10,
            unpacked_size_bytes=20,
            created_ns=record.created_ns,
        )

    def list(self) -> Sequence[Image]:
        found = {record.image_id: record for record in self.names.values()}
        return [self.image_of(record) for record in found.values()]

    def records(self) -> Sequence[ImageRecord]:
        return list(self.names.values())

    def record(self, reference: str) -> ImageRecord:
        if reference not in self.names:
            raise NotFound("image", reference)
        return self.names[reference]

    def layer_usage(self, key: SnapshotKey) -> Usage:
        return Usage(4096, 3)

    async def register(self, name: str, target: Descriptor) -> Image:
        if target.digest not in self.complete:
            raise NotFound("content", target.digest)
        config = Digest("sha256:" + hashlib.sha256(target.digest.encode()).hexdigest())
        now = time.time_ns()
        record = ImageRecord(name, target, config, target.digest, created_ns=now, updated_ns=now)
        self.names[name] = record
        return self.image_of(record)

    async def set_labels(self, reference: str, labels: Mapping[str, str]) -> ImageRecord:
        self.names[reference] = replace(self.record(reference), labels=dict(labels))
        return self.names[reference]

    async def drop_reference(self, reference: str) -> None:
        self.record(reference)
        del self.names[reference]

    async def release(self, digests: set[Digest]) -> None:
        self.released.append(digests)

    async def gc(self) -> None:
        self.swept += 1

    async def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        progress: Callable[[PullProgress], None],
    ) -> Image:
        self.pulled.append((reference, platform))
        for step in self.steps:
            progress(step)
        if self.failure is not None:
            raise self.failure
        target = Descriptor("manifest", Digest("sha256:" + "ab" * 32), 7)
        self.complete.add(target.digest)
        return await self.register(reference, target)

    async def load(
        self, chunks: AsyncIterator[bytes], *, progress: Callable[[PullProgress], None]
    ) -> Sequence[LoadedImage]:
        data = b""
        async for chunk in chunks:
            data += chunk
            if self.failure is not None:
                raise self.failure
        self.archives.append(data)
        for step in self.steps:
            progress(step)
        target = Descriptor("manifest", Digest("sha256:" + "cd" * 32), 7)
        self.complete.add(target.digest)
        image = await self.register("docker.io/library/loaded:latest", target)
        return [LoadedImage(image, image.references)]

    async def remove(
        self, ref: str, *, force: bool, in_use: Callable[[Digest], tuple[str, ...]]
    ) -> Sequence[RemovedImage]:
        record = self.record(ref)
        if users := in_use(record.image_id):
            raise InUse("image", ref, users)
        del self.names[ref]
        return [RemovedImage(untagged=ref), RemovedImage(deleted=record.image_id)]


class FakePods:
    def __init__(self) -> None:
        self.records: dict[str, SandboxRecord] = {}
        self.stopped: list[str] = []
        self.failure: Fault | None = None
        self.processes: dict[str, int] = {}

    def list(self) -> Sequence[SandboxRecord]:
        return list(self.records.values())

    def get(self, ref: str) -> SandboxRecord:
        if ref not in self.records:
            raise NotFound("sandbox", ref)
        return self.records[ref]

    def first_process(self, id: str) -> int:
        return self.processes.get(self.get(id).id, 0)

    def containers_of(self, id: str) -> Sequence[ContainerRecord]:
        return []

    async def stop(self, id: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.stopped.append(id)


class FakeEvents:
    """``stored`` come first when a time is asked for; then ``live``."""

    def __init__(self) -> None:
        self.stored: list[EventRecord] = []
        self.live: asyncio.Queue[EventRecord] = asyncio.Queue()
        self.since: list[int | None] = []

    @asynccontextmanager
    async def subscribe(
        self, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> AsyncIterator[AsyncIterator[EventRecord]]:
        self.since.append(since_ns)

        async def events() -> AsyncIterator[EventRecord]:
            for record in self.stored if since_ns else []:
                yield record
            while True:
                yield await self.live.get()

        yield events()


class FakeNamespaces:
    def __init__(self) -> None:
        self.records: dict[str, NamespaceRecord] = {}
        self.queues: list[asyncio.Queue[tuple[Namespace, EventRecord]]] = []

    def names(self) -> Sequence[Namespace]:
        return [Namespace(name) for name in self.records]

    async def list(self) -> Sequence[NamespaceRecord]:
        return list(self.records.values())

    async def create(self, name: Namespace, labels: Mapping[str, str]) -> NamespaceRecord:
        if name in self.records:
            raise AlreadyExists("namespace", name)
        self.records[name] = NamespaceRecord(name, dict(labels))
        return self.records[name]

    async def set_labels(self, name: Namespace, labels: Mapping[str, str]) -> NamespaceRecord:
        if name not in self.records:
            raise NotFound("namespace", name)
        self.records[name] = replace(self.records[name], labels=dict(labels))
        return self.records[name]

    async def delete(self, name: Namespace) -> None:
        if name in ("k8s.io", "moby"):
            raise FailedPrecondition("namespace", name, "belongs to a door of this daemon")
        if self.records.pop(name, None) is None:
            raise NotFound("namespace", name)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[tuple[Namespace, EventRecord]]]:
        queue: asyncio.Queue[tuple[Namespace, EventRecord]] = asyncio.Queue()
        self.queues.append(queue)

        async def events() -> AsyncIterator[tuple[Namespace, EventRecord]]:
            while True:
                yield await queue.get()

        try:
            yield events()
        finally:
            self.queues.remove(queue)

    def tell(self, namespace: str, record: EventRecord) -> None:
        for queue in self.queues:
            queue.put_nowait((Namespace(namespace), record))


class FakeRuntime:
    """Typed as Any where it is handed over: it has of a Runtime what this door uses."""

    def __init__(self) -> None:
        self.host = HOST
        self.all_namespaces = FakeNamespaces()
        self.all_namespaces.records = {
            name: NamespaceRecord(Namespace(name)) for name in ("k8s.io", "moby")
        }
        self._services: dict[str, Any] = {}

    def within(self, namespace: Namespace) -> Any:
        if namespace not in self._services:
            self._services[namespace] = SimpleNamespace(
                namespace=namespace,
                containers=FakeContainers(),
                content=FakeContent(),
                leases=FakeLeases(),
                images=FakeImages(),
                pods=FakePods(),
                events=FakeEvents(),
            )
        return self._services[namespace]
