"""One namespace's containers: the door to them (:class:`sharedrt.services.contracts.Containers`)."""

import asyncio
import posixpath
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from sharedrt.aio.completion import complete
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import (
    ContainerDetails,
    HostFiles,
    LogLine,
    LogQuery,
    LogReader,
    OciRuntime,
    Usage,
)
from sharedrt.model.faults import (
    AlreadyExists,
    FailedPrecondition,
    FailureWords,
    Fault,
    InvalidArgument,
    NotFound,
)
from sharedrt.model.ids import ContainerId, SnapshotKey, new_id
from sharedrt.model.records import (
    ContainerRecord,
    ContainerState,
    EndpointRecord,
    NetworkRequest,
    SandboxRecord,
    SandboxState,
)
from sharedrt.model.spec import ImageDefaults, Resources
from sharedrt.model.stdio import StdioSession
from sharedrt.model.stores import Transaction
from sharedrt.services.containers.life import ContainerLife
from sharedrt.services.containers.membership import NetworkMembership
from sharedrt.services.containers.mounts import ContainerMounts, settle_volumes
from sharedrt.services.containers.restarts import wants_start_with_daemon
from sharedrt.services.containers.restores import Restores
from sharedrt.services.containers.rows import ContainerRows, attributes
from sharedrt.services.containers.signals import parse_signal
from sharedrt.services.containers.snapshots import ContainerSnapshots
from sharedrt.services.containers.wiring import POD_FILES, Wirer, network_owner
from sharedrt.services.contracts import ContainerStats, LayerFolders, NewContainer, WaitCondition
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.images import Image, Images
from sharedrt.services.layout import Layout
from sharedrt.services.networks import Networks
from sharedrt.services.volumes import Volumes, volumes_of
from sharedrt.services.working_set import WorkingSet
from sharedrt.wire.oci_image import ImageConfig

log = structlog.get_logger(__name__)

ADOPT_TIMEOUT_S: Final = 20.0
"""How long recovery waits for the exit status of one that ended; conmon may still be writing it."""
RESTART_POLICIES = frozenset({"no", "always", "unless-stopped", "on-failure"})


class ContainerService:
    """Creates, finds and removes; what runs is :class:`ContainerLife`'s."""

    def __init__(
        self,
        layout: Layout,
        records: WorkingSet[ContainerRecord],
        rows: ContainerRows,
        life: ContainerLife,
        events: NamespacedEvents,
        images: Images,
        networks: Networks,
        wirer: Wirer,
        snapshots: ContainerSnapshots,
        mounts: ContainerMounts,
        volumes: Volumes,
        runtime: OciRuntime,
        host: HostFiles,
        log_reader: LogReader,
        find_sandbox: Callable[[str], SandboxRecord],
        owner: TaskOwner,
        restores: Restores,
    ) -> None:
        self._restores = restores
        self._layout = layout
        self._records = records
        self._rows = rows
        self._life = life
        self._membership = NetworkMembership(records, life, rows, networks, wirer)
        self._events = events
        self._images = images
        self._networks = networks
        self._snapshots = snapshots
        self._mounts = mounts
        self._volumes = volumes
        self._runtime = runtime
        self._host = host
        self._log_reader = log_reader
        self._find_sandbox = find_sandbox
        self._owner = owner
        self._ended_before: tuple[ContainerId, ...] = ()
        self._resumed = asyncio.Event()
        self.on_removed: Callable[[ContainerId], None] | None = None
        """Told when a container's rows are gone (its execs go with it)."""
        life.on_auto_remove = self._auto_remove

    # ------------------------------------------------------------ create and remove

    async def create(self, request: NewContainer) -> ContainerRecord:
        return await self._owner.finish(self._create(request), "create container")

    async def _create(self, request: NewContainer) -> ContainerRecord:
        self._check(request)
        id = request.id or ContainerId(new_id())
        self._records.reserve(request.name, id)
        try:
            image = request.base or await self._image_for(request)
            await self._images.ensure_unpacked(image)
            now = time.time_ns()
            config = image.config
            mounts, volumes = settle_volumes(request.spec.mounts, request.volumes)
            mounts = self._mounts.settle_images(mounts)
            views = await self._mounts.view_rows(id, mounts)
            if request.sandbox_id is not None:
                await self._mounts.check_sub_paths(id, mounts)
            if request.checkpoint:
                await self._restores.unpack(Path(request.checkpoint), id)
            record = ContainerRecord(
                id=id,
                name=request.name,
                image_reference=request.image or image.id,
                image_id=image.id,
                spec=replace(request.spec, mounts=mounts, restored=bool(request.checkpoint)),
                sandbox_id=request.sandbox_id,
                runtime_handler=request.runtime_handler or self._handler_of(request),
                labels={**config.labels, **request.labels}
                if not request.sandbox_id
                else request.labels,
                annotations=request.annotations,
                extensions=request.extensions,
                image_defaults=_defaults(image.config),
                networks=request.networks,
                ports=request.ports,
                dns=request.dns,
                exposed_ports=request.exposed_ports,
                extra_hosts=request.extra_hosts,
                snapshot_key=SnapshotKey(id),
                log_path=self._log_path(id, request),
                log_max_bytes=request.log_max_bytes,
                log_max_files=request.log_max_files,
                log_compress=request.log_compress,
                log_forward=request.log_forward,
                auto_remove=request.auto_remove,
                restart_policy=request.restart_policy,
                restart_max_retries=request.restart_max_retries,
                created_ns=now,
            )
            top = image.layers[0] if image.layers else None
            snapshot = self._snapshots.row(record, top, now)

            async with self._volumes.claimed(volumes) as missing:

                def insert(tx: Transaction) -> None:
                    for volume in missing:
                        tx.volumes.add(volume)
                    for row in (snapshot, *views):
                        tx.snapshots.add(row)
                    tx.containers.add(record)

                made = [NewEvent("volume", "create", v.name, {"driver": v.driver}) for v in missing]
                await self._events.commit(
                    insert,
                    *made,
                    self._event("create", record),
                    then=lambda: self._records.put(record),
                )
        except BaseException as error:
            self._records.release(request.name, id)
            if request.checkpoint:
                await complete(self._host.remove_tree(self._layout.container_state(id)))
            if isinstance(error, NotFound) and error.kind in ("blob", "snapshot"):
                # What it was to be made of went meanwhile: as if the image had gone before.
                raise NotFound("image", request.image) from error
            raise
        return record

    async def _image_for(self, request: NewContainer) -> Image:
        if not request.checkpoint:
            return self._images.get(request.image)
        # Of what every pod's container has mounted by us, and of what the client asks for.
        targets = {posixpath.normpath(mount.target) for mount in request.spec.mounts}
        return await self._restores.image(
            Path(request.checkpoint),
            handler=request.runtime_handler or self._handler_of(request),
            targets=sorted(targets | POD_FILES),
        )

    def _check(self, request: NewContainer) -> None:
        if request.restart_policy not in RESTART_POLICIES:
            raise InvalidArgument("restart policy", request.restart_policy, "unknown")
        if request.auto_remove and request.restart_policy != "no":
            raise InvalidArgument(
                "restart policy",
                request.restart_policy,
                "can't create 'AutoRemove' container with restart policy",
            )
        if request.spec.stop_signal:
            parse_signal(request.spec.stop_signal)
        if request.runtime_handler and request.runtime_handler not in self._runtime.handlers():
            raise InvalidArgument(
                "runtime",
                request.runtime_handler,
                f"unknown or invalid runtime name: {request.runtime_handler}",
            )
        if request.sandbox_id is not None:
            sandbox = self._find_sandbox(request.sandbox_id)
            if sandbox.state is not SandboxState.READY:
                raise FailedPrecondition("sandbox", sandbox.id, "is not ready")

    def _handler_of(self, request: NewContainer) -> str:
        return self._find_sandbox(request.sandbox_id).runtime_handler if request.sandbox_id else ""

    def _log_path(self, id: ContainerId, request: NewContainer) -> str:
        if request.log_path:
            return request.log_path
        return str(self._layout.container_log(id)) if request.keep_log else ""

    async def remove(self, id: ContainerId, *, force: bool = False, volumes: bool = False) -> None:
        await self._owner.finish(self._remove(id, force, volumes), "remove container")

    async def _remove(self, id: ContainerId, force: bool, volumes: bool) -> None:
        async with self._life.locks.hold(id):
            record = self._records.by_id(id)
            if self._life.is_running(id) and not force:
                raise FailedPrecondition("container", id, "is running")
            await self._life.end_for_removal(id)
            record = self._records.by_id(id)

            def delete(tx: Transaction) -> None:
                for exec_record in tx.execs.list():
                    if exec_record.container_id == id:
                        tx.execs.delete(exec_record.id)
                tx.containers.delete(id)
                for key in (SnapshotKey(id), *self._mounts.view_keys(record)):
                    tx.snapshots.delete(key)

            await self._events.commit(
                delete, self._event("destroy", record), then=lambda: self._records.drop(id)
            )
            if self.on_removed is not None:
                self.on_removed(id)
            try:
                await self._clean_up(record)
                if volumes:
                    names = volumes_of(record.spec.mounts)
                    await self._volumes.remove_unused_anonymous(sorted(names))
            finally:
                self._life.forget(record)  # who waits for its end shall find nothing of it

    async def _clean_up(self, record: ContainerRecord) -> None:
        """The rows are gone, so it is removed: what cannot be cleaned up now is left to recovery."""
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: self._mounts.remove_views(record),
            lambda: self._snapshots.remove(record),
            lambda: self._host.remove_tree(self._layout.container_run(record.id)),
            lambda: self._host.remove_tree(self._layout.container_state(record.id)),
        )
        for step in steps:
            try:
                await step()
            except Fault as fault:
                log.error("cannot clean up", container=record.id, error=str(fault))

    def _auto_remove(self, id: ContainerId) -> None:
        async def run() -> None:
            await self._resumed.wait()
            try:
                await self._remove(id, force=True, volumes=True)
            except NotFound:
                log.debug("removed by somebody else", container=id)
            except Fault as fault:
                log.error("auto-remove failed", container=id, error=str(fault))

        self._owner.spawn(run(), f"auto-remove {id[:12]}")

    # ------------------------------------------------------------ life

    async def start(self, id: ContainerId, *, words: FailureWords = str) -> None:
        await self._owner.finish(self._life.start(id, words), "start container")

    def private_env(
        self, id: ContainerId, variables: tuple[str, ...]
    ) -> AbstractContextManager[None]:
        return self._life.private_env(id, variables)

    async def stop(
        self, id: ContainerId, *, grace_s: float | None = None, signal: str = ""
    ) -> None:
        await self._owner.finish(self._life.stop(id, grace_s, signal), "stop container")

    async def restart(
        self,
        id: ContainerId,
        *,
        grace_s: float | None = None,
        signal: str = "",
        words: FailureWords = str,
    ) -> None:
        work = self._life.restart(id, grace_s, signal, words)
        await self._owner.finish(work, "restart container")

    async def kill(self, id: ContainerId, signal: str = "SIGKILL") -> None:
        await self._owner.finish(self._life.kill(id, signal), "kill container")

    async def pause(self, id: ContainerId) -> None:
        await self._owner.finish(self._life.pause(id), "pause container")

    async def unpause(self, id: ContainerId) -> None:
        await self._owner.finish(self._life.unpause(id), "unpause container")

    async def wait(
        self, id: ContainerId, condition: WaitCondition = WaitCondition.NOT_RUNNING
    ) -> ContainerRecord:
        if condition is WaitCondition.REMOVED:
            return await self._life.wait_removed(id)
        return await self._life.wait_end(id, next_exit=condition is WaitCondition.NEXT_EXIT)

    def restarting(self, id: ContainerId) -> bool:
        """Whether its restart policy is about to start it again."""
        # It is due before the end is committed, so that nobody sees it ended and not restarting.
        record = self._records.find(id)
        running = record is not None and record.state is ContainerState.RUNNING
        return not running and self._life.restarts.due(id)

    # ------------------------------------------------------------ change

    async def rename(self, id: ContainerId, name: str) -> None:
        await self._owner.finish(self._rename(id, name), "rename container")

    async def _rename(self, id: ContainerId, name: str) -> None:
        async with self._life.locks.hold(id):
            record = self._records.by_id(id)
            if record.name == name:
                raise AlreadyExists("container", name, id)
            self._records.reserve(name, id)
            try:
                await self._rows.change(
                    id,
                    lambda current: replace(current, name=name),
                    "rename",
                    details={"oldName": record.name},
                )
            except BaseException:
                self._records.release(name, id)
                raise
            self._networks.names_changed()

    async def update(self, id: ContainerId, resources: Resources) -> None:
        await self._owner.finish(self._update(id, resources), "update container")

    async def _update(self, id: ContainerId, resources: Resources) -> None:
        async with self._life.locks.hold(id):
            spec = self._records.by_id(id).spec
            updated = replace(spec, resources=merge_resources(spec.resources, resources))
            if self._life.is_running(id):
                await self._runtime.update(self._life.key(id), resources)
            await self._rows.change(id, lambda record: replace(record, spec=updated), "update")

    async def change(
        self, id: ContainerId, edit: Callable[[ContainerRecord], ContainerRecord]
    ) -> ContainerRecord:
        async with self._life.locks.hold(id):
            return await self._rows.change(id, edit)

    async def connect_network(self, id: ContainerId, request: NetworkRequest) -> None:
        work = self._membership.connect(id, request)
        await self._owner.finish(work, "connect network")

    async def disconnect_network(self, id: ContainerId, network: str) -> None:
        work = self._membership.disconnect(id, network)
        await self._owner.finish(work, "disconnect network")

    # ------------------------------------------------------------ look

    def get(self, ref: str) -> ContainerRecord:
        return self._records.get(ref)

    def by_id(self, id: str) -> ContainerRecord:
        return self._records.by_id(id)

    def list(self) -> Sequence[ContainerRecord]:
        return self._records.list()

    def is_running(self, id: ContainerId) -> bool:
        return self._life.is_running(id)

    async def processes(self, id: ContainerId) -> Sequence[int]:
        self._life.running(id)
        return await self._runtime.pids(self._life.key(id))

    async def stats(self, id: ContainerId, *, writable: bool = True) -> ContainerStats:
        record = self._life.running(id)
        cgroup = await self._runtime.stats(self._life.key(id))
        places = self._shared_places(record)
        networks = await self._runtime.network_stats(record.pid) if places else ()
        seen = tuple(one for one in networks if one.interface in places)
        usage = await self._snapshots.usage(record) if writable else None
        return ContainerStats(id, cgroup, seen, usage)

    async def details(self, id: ContainerId) -> ContainerDetails:
        self._life.running(id)
        return await self._runtime.details(self._life.key(id))

    async def usage(self, id: ContainerId) -> Usage:
        return await self._snapshots.usage(self._records.by_id(id))

    async def layers(self, id: ContainerId) -> LayerFolders:
        record = self._records.by_id(id)
        try:
            lower = await self._snapshots.lower(record)
        except FailedPrecondition as fault:
            # Its snapshot's row goes with its own: it has been removed meanwhile.
            raise NotFound("container", id) from fault
        upper = self._snapshots.upper(record)
        folder = upper.parent
        return LayerFolders(
            tuple(str(path) for path in lower),
            str(upper),
            str(folder / "work"),
            str(folder / "rootfs"),
        )

    def files_folder(self, id: ContainerId) -> str:
        return str(self._layout.container_run(self._network_owner(self._records.by_id(id))))

    def endpoints(self, id: ContainerId) -> Sequence[EndpointRecord]:
        return self._networks.endpoints_of(self._records.by_id(id).id)

    def _shared_places(self, record: ContainerRecord) -> frozenset[str]:
        """Interfaces of its places on networks, or of those of the container whose network it shares. Not the host's,
        nor those that a kernel puts into every network namespace, as it does ``tunl0``."""
        owner = self._network_owner(record)
        return frozenset(place.interface for place in self._networks.endpoints_of(owner))

    def _network_owner(self, record: ContainerRecord) -> ContainerId:
        return network_owner(record, lambda id: self._records.by_id(ContainerId(id)))

    # ------------------------------------------------------------ streams

    async def attach(self, id: ContainerId) -> StdioSession:
        return await self._life.attach(id)

    async def runtime_spec(self, id: ContainerId) -> Mapping[str, Any] | None:
        try:
            return await self._runtime.runtime_spec(self._life.key(id))
        except NotFound:
            return None

    async def resize(self, id: ContainerId, width: int, height: int) -> None:
        self._life.running(id)
        await self._runtime.resize(self._life.key(id), width, height)

    def logs(self, id: ContainerId, query: LogQuery) -> AsyncIterator[Sequence[LogLine]]:
        record = self._records.by_id(id)
        if not record.log_path:
            raise FailedPrecondition("container", id, "keeps no log")

        def ended() -> bool:
            return not self._life.is_running(id) and not self._life.restarts.due(id)

        return self._log_reader.read(Path(record.log_path), query, ended=ended)

    async def reopen_log(self, id: ContainerId) -> None:
        self._life.running(id)
        await self._runtime.reopen_log(self._life.key(id))

    # ------------------------------------------------------------ recovery

    async def recover(self, traces: Container[str]) -> None:
        """Adopt what runs, record what ended, remove what no running row owns. Restarts and removals that are
        due come with :meth:`resume`.

        Args:
            traces: ids of all that may have left something on the host.
        """
        ended = []
        async with asyncio.TaskGroup() as group:
            for record in self._records.list():
                if record.state is ContainerState.RUNNING:
                    group.create_task(self._adopt(record))
                    continue
                ended.append(record.id)
                if record.id in traces:
                    await self._life.clean(record)
        self._ended_before = tuple(ended)

    async def _adopt(self, record: ContainerRecord) -> None:
        try:
            async with asyncio.timeout(ADOPT_TIMEOUT_S):
                await self._life.adopt(record)
        except TimeoutError:
            log.error("its end is not known yet", container=record.id)

    def resume(self) -> None:
        """Recovery is over: remove and start what policies say."""
        for id in self._ended_before:
            record = self._records.find(id)
            if record is None or record.state is ContainerState.CREATED:
                continue
            if record.auto_remove:
                self._auto_remove(id)
            elif wants_start_with_daemon(record):
                self._life.restarts.schedule(id, 0.0)
        self._ended_before = ()
        for record in self._records.list():
            self._life.forward_rest(record)
        self._resumed.set()
        self._life.restarts.open()

    def _event(self, action: str, record: ContainerRecord) -> NewEvent:
        return NewEvent("container", action, record.id, attributes(record))


def _defaults(config: ImageConfig) -> ImageDefaults:
    return ImageDefaults(
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        env=config.env,
        cwd=config.cwd,
        user=config.user,
        stop_signal=config.stop_signal,
    )


def merge_resources(old: Resources, new: Resources) -> Resources:
    """``new`` over ``old``: what ``new`` does not ask for stays, key by key where there are keys."""
    empty = Resources()
    changed: dict[str, Any] = {
        name: {**getattr(old, name), **value} if isinstance(value, Mapping) else value
        for name in Resources.__dataclass_fields__
        if (value := getattr(new, name)) != getattr(empty, name)
    }
    return replace(old, **changed)
