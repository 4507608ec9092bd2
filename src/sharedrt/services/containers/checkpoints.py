"""Containers to archives, by CRIU (:mod:`sharedrt.wire.checkpoint` has the layout).

A checkpoint freezes the container while CRIU and the copy of its files work, so that both are of one moment. The intent
is journalled: after a crash the next daemon thaws the container and removes what was half written.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.completion import complete
from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import CheckpointArchives, HostFiles, OciRuntime
from sharedrt.model.faults import (
    DeadlineExceeded,
    FailedPrecondition,
    Fault,
    InvalidArgument,
    NotFound,
)
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace, OperationId, new_id
from sharedrt.model.records import ContainerRecord, OperationRecord
from sharedrt.services.containers.files import ContainerFiles
from sharedrt.services.containers.life import ContainerLife
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.images import Image, Images
from sharedrt.services.layout import Layout
from sharedrt.wire import checkpoint as wire
from sharedrt.wire.docker_time import format_time

log = structlog.get_logger(__name__)

OPERATION: Final = "container.checkpoint"
_LOOK_S: Final = 0.2


class Checkpoints:
    """Writes archives of one namespace's containers."""

    def __init__(
        self,
        namespace: Namespace,
        layout: Layout,
        life: ContainerLife,
        files: ContainerFiles,
        images: Images,
        runtime: OciRuntime,
        archives: CheckpointArchives,
        host: HostFiles,
        events: NamespacedEvents,
        owner: TaskOwner,
    ) -> None:
        self._namespace = namespace
        self._layout = layout
        self._life = life
        self._files = files
        self._images = images
        self._runtime = runtime
        self._archives = archives
        self._host = host
        self._events = events
        self._owner = owner
        self._locks = KeyedLocks()

    async def write(self, id: ContainerId, location: Path, *, timeout_s: float = 0) -> None:
        """Checkpoint a running container, which runs on, into the file ``location``, whose folder is there.

        CRIU cannot be stopped half way: after the time is over, or the caller has gone, it comes to its end, but no
        archive is left.

        Args:
            timeout_s: 0: no bound.

        Raises:
            FailedPrecondition: it does not run, is in a user namespace, or CRIU cannot serve here. NotFound.
            InvalidArgument: the location. DeadlineExceeded. Internal: CRIU's words.
        """
        if not location.is_absolute() or not location.name:
            raise InvalidArgument("location", str(location), "must be the absolute path of a file")
        wanted = asyncio.Event()
        wanted.set()
        try:
            async with asyncio.timeout(timeout_s or None):
                await self._owner.finish(self._write(id, location, wanted), "checkpoint")
        except TimeoutError as error:
            raise DeadlineExceeded(f"checkpoint of {id}", timeout_s) from error
        finally:
            wanted.clear()

    async def _write(self, id: ContainerId, location: Path, wanted: asyncio.Event) -> None:
        async with self._locks.hold(id):
            record = self._life.running(id)
            _check(record)
            await self._runtime.require_checkpoints(record.runtime_handler)
            if not await self._host.exists(location.parent):
                raise InvalidArgument("location", str(location), "its folder does not exist")
            intent = OperationRecord(
                OperationId(new_id()), OPERATION, id, created_ns=time.time_ns()
            )
            await self._events.commit(lambda tx: tx.operations.add(intent))
            try:
                await self._make(record, location, wanted)
            finally:
                await complete(self._clear(id, intent.id))
        told = {"image": record.image_reference, "name": record.name}
        await self._events.commit(lambda tx: None, NewEvent("container", "checkpoint", id, told))

    async def _make(self, record: ContainerRecord, location: Path, wanted: asyncio.Event) -> None:
        folder, key = self._folder(record.id), ContainerKey(self._namespace, record.id)
        await self._host.remove_tree(folder)
        await self._host.make_folder(folder, mode=0o700)
        try:
            await self._runtime.pause(key)
            await self._runtime.checkpoint(key, folder)
            async with self._archives.file(folder / wire.ROOTFS_DIFF) as sink:
                await self._files.layer(record.id, sink)
        finally:
            await complete(self._thaw(key))
        config = wire.render_config(self._config(record))
        await self._host.write(folder, {wire.CONFIG: config}, mode=0o600)
        if wanted.is_set():
            await self._archives.write(folder, location)

    async def _thaw(self, key: ContainerKey) -> None:
        try:
            await self._runtime.resume(key)
        except (FailedPrecondition, NotFound) as fault:  # it has ended, or somebody has ended it
            log.debug("not thawed", container=key.id, error=str(fault))

    async def _clear(self, id: ContainerId, intent: OperationId) -> None:
        await self._host.remove_tree(self._folder(id))
        await self._events.commit(lambda tx: tx.operations.delete(intent))

    def _config(self, record: ContainerRecord) -> wire.CheckpointConfig:
        handler = record.runtime_handler or self._runtime.default_handler
        image = self._image_of(record)
        return wire.CheckpointConfig(
            id=record.id,
            name=record.name,
            image=record.image_id,
            image_ref=image.repo_digests[0] if image and image.repo_digests else record.image_id,
            image_name=image.repo_tags[0] if image and image.repo_tags else "",
            runtime=handler,
            created=format_time(record.created_ns),
            checkpointed=format_time(time.time_ns()),
        )

    def _image_of(self, record: ContainerRecord) -> Image | None:
        try:
            return self._images.get(record.image_id)
        except NotFound:
            return None

    def _folder(self, id: ContainerId) -> Path:
        return self._layout.container_state(id) / "checkpoint"

    async def recover(self, unfinished: Sequence[OperationRecord]) -> None:
        """Thaw what a daemon left frozen, and remove what it had written; where CRIU is still at it, once it is not."""
        for operation in unfinished:
            if operation.kind != OPERATION:
                continue
            id = ContainerId(operation.subject)
            if await self._runtime.checkpointing(self._folder(id)):
                self._owner.spawn(self._outlast(id, operation), "a checkpoint of an earlier daemon")
            else:
                await self._undo(id, operation)

    async def _outlast(self, id: ContainerId, operation: OperationRecord) -> None:
        async with self._locks.hold(id):
            while await self._runtime.checkpointing(self._folder(id)):  # noqa: ASYNC110 - a process not ours
                await asyncio.sleep(_LOOK_S)
            await self._undo(id, operation)

    async def _undo(self, id: ContainerId, operation: OperationRecord) -> None:
        try:
            await self._thaw(ContainerKey(self._namespace, id))
            await self._clear(id, operation.id)
        except Fault as fault:  # tried again at the next start
            log.error("cannot undo a checkpoint", container=id, error=str(fault))


def _check(record: ContainerRecord) -> None:
    if record.paused:
        raise FailedPrecondition("container", record.id, "is paused")
    if record.spec.namespaces.uid_mappings:
        raise FailedPrecondition(
            "container", record.id, "is in a user namespace, which CRIU cannot give back to a pod"
        )
