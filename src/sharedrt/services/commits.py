"""Images out of containers (``docker commit``) and out of root file systems (``docker import``)."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Final

import structlog

from sharedrt.aio.completion import complete
from sharedrt.model.drivers import Download, Downloader
from sharedrt.model.faults import FailedPrecondition, Fault, NotFound
from sharedrt.model.ids import ContainerId, Digest, OperationId, new_id
from sharedrt.model.records import ContainerRecord, Json, OperationRecord
from sharedrt.services.containers.files import ContainerFiles
from sharedrt.services.containers.rows import attributes
from sharedrt.services.contracts import Containers
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.images import Image, Images, image_event
from sharedrt.wire.docker_time import format_time
from sharedrt.wire.reference import parse_reference

log = structlog.get_logger(__name__)

OPERATION: Final = "container.commit"
"""Kind of the intent that stands for a container whose processes stand still."""


@dataclass(frozen=True, slots=True)
class NewCommit:
    """What the new image shall be. ``config`` is the whole ``config`` object of its configuration (OCI image spec).

    ``name``: a reference; empty: none. ``pause``: stop the container's processes while its files are read.
    """

    config: Mapping[str, Json]
    name: str = ""
    author: str = ""
    comment: str = ""
    pause: bool = True


class Commits:
    """Of one namespace."""

    def __init__(
        self,
        containers: Containers,
        files: ContainerFiles,
        images: Images,
        events: NamespacedEvents,
        platform: str,
        downloader: Downloader,
    ) -> None:
        self._containers, self._files, self._images = containers, files, images
        self._events = events
        self._downloader = downloader
        self._platform = platform

    async def commit(self, id: ContainerId, request: NewCommit) -> Image:
        """An image of the container's own, with what it has changed as a further layer.

        Raises:
            NotFound: the container, or its image. InvalidArgument: the name. ResourceExhausted: the disk.
        """
        record = self._containers.by_id(id)
        names = _names(request.name)
        base = self._images.get(record.image_id)
        async with self._images.composing() as composer:
            layers = await composer.base(base)
            async with self._paused(id) if request.pause else nullcontext():
                new = await composer.layer(lambda sink: self._files.layer(id, sink))
            if not new.empty:
                layers.append(new)
            raw = base.config.raw if isinstance(base.config.raw, dict) else {}
            history = raw.get("history")
            now = format_time(time.time_ns())
            entry = _history(now, _created_by(record), request, empty=new.empty)
            config: dict[str, Json] = {
                "architecture": base.config.architecture,
                "os": base.config.os,
                **({"variant": base.config.variant} if base.config.variant else {}),
                "author": request.author,
                "container": id,
                "created": now,
                "parent": base.id,
                "config": dict(request.config),
                "history": [*(history if isinstance(history, list) else []), entry],
            }
            image = await composer.finish(
                config, layers, names, lambda new_id: _event("create", new_id, names)
            )
        details = {**attributes(record), "comment": request.comment, "imageID": image.id}
        await self._events.publish("container", "commit", id, details)
        return image

    async def import_rootfs(
        self, archive: AsyncIterator[bytes], request: NewCommit, *, platform: str = ""
    ) -> Image:
        """An image of one layer: a tar of a root file system.

        Args:
            platform: what it is for; empty: this host's.

        Raises:
            InvalidArgument: no tar, a hostile one, or the name. ResourceExhausted: the disk, or a bound.
        """
        names = _names(request.name)
        os, architecture, *variant = (platform or self._platform).split("/")
        now = format_time(time.time_ns())
        async with self._images.composing() as composer:
            layer = await composer.layer_of_archive(archive)
            config: dict[str, Json] = {
                "architecture": architecture,
                "os": os,
                **({"variant": variant[0]} if variant else {}),
                "author": request.author,
                "created": now,
                "config": dict(request.config),
                "history": [_history(now, "", request, empty=False)],
            }
            return await composer.finish(
                config, [layer], names, lambda new_id: _event("import", new_id, names)
            )

    async def import_url(
        self,
        url: str,
        request: NewCommit,
        *,
        platform: str = "",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Image:
        """The same of an archive that is fetched here.

        Args:
            progress: told the bytes that have come, and how many there will be; 0: unknown.

        Raises:
            The same, and as ``Downloader.open``.
        """
        async with self._downloader.open(url) as download:
            progress(0, download.size_bytes)
            chunks = _counted(download, progress)
            return await self.import_rootfs(chunks, request, platform=platform)

    @asynccontextmanager
    async def _paused(self, id: ContainerId) -> AsyncIterator[None]:
        """In the block its processes stand still, if it runs. The intent is journalled: nobody else would let them go
        on when this daemon is killed."""
        intent = OperationRecord(OperationId(new_id()), OPERATION, id, created_ns=time.time_ns())
        paused = False

        async def pause() -> None:
            nonlocal paused
            await self._events.commit(lambda tx: tx.operations.add(intent))
            paused = await self._pause(id)

        try:
            await complete(pause())
            yield
        finally:
            await complete(self._let_go(id, intent.id, paused=paused))

    async def _let_go(self, id: ContainerId, intent: OperationId, *, paused: bool) -> None:
        try:
            if paused:
                await self._go_on(id)
            await self._events.commit(lambda tx: tx.operations.delete(intent))
        except Fault as fault:  # the intent stays, for the next start
            log.error("a container still stands still", container=id, error=str(fault))

    async def _go_on(self, id: ContainerId) -> None:
        with suppress(FailedPrecondition, NotFound):  # it has ended, or somebody was faster
            await self._containers.unpause(id)

    async def recover(self, unfinished: Sequence[OperationRecord]) -> None:
        """At start-up, once containers are watched: what stood still for a commit goes on."""
        for operation in unfinished:
            if operation.kind == OPERATION:
                await self._let_go(ContainerId(operation.subject), operation.id, paused=True)

    async def _pause(self, id: ContainerId) -> bool:
        """Whether it was running, and is paused now by us."""
        try:
            await self._containers.pause(id)
        except FailedPrecondition:
            return False  # does not run, or is paused already
        return True


async def _counted(
    download: Download, progress: Callable[[int, int], None]
) -> AsyncIterator[bytes]:
    done = 0
    async for chunk in download.chunks:
        done += len(chunk)
        progress(done, download.size_bytes)
        yield chunk


def _names(name: str) -> list[str]:
    return [str(parse_reference(name))] if name else []


def _event(action: str, id: Digest, names: Sequence[str]) -> NewEvent:
    return image_event(action, id, id, reference=names[0] if names else "")


def _created_by(record: ContainerRecord) -> str:
    spec, image = record.spec, record.image_defaults
    command = spec.command if spec.command is not None else image.entrypoint
    args = spec.args if spec.args is not None else image.cmd
    return " ".join((*command, *args))


def _history(now: str, created_by: str, request: NewCommit, *, empty: bool) -> dict[str, Json]:
    entry: dict[str, Json] = {"created": now}
    if created_by:
        entry["created_by"] = created_by
    if request.author:
        entry["author"] = request.author
    if request.comment:
        entry["comment"] = request.comment
    if empty:
        entry["empty_layer"] = True
    return entry
