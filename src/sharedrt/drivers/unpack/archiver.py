"""Files into and out of containers (:class:`sharedrt.model.drivers.RootArchiver`), by the same workers as layers."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import obtain, run_blocking
from sharedrt.aio.groups import task_group
from sharedrt.drivers.unpack import messages
from sharedrt.drivers.unpack.messages import Message
from sharedrt.drivers.unpack.unpacker import (
    ChrootUnpacker,
    next_message,
    open_folder,
    set_attribute,
)
from sharedrt.drivers.unpack.zygote import Job, readable, writable
from sharedrt.model.drivers import (
    ExtractRules,
    PathInfo,
    Placement,
    RootView,
    Selection,
    Surveyed,
)
from sharedrt.model.faults import InvalidArgument, ResourceExhausted

_READ_BYTES: Final = 1 << 20
_MAX_PATTERN_BYTES: Final = 96 << 10
_WORKERS: Final = 32
"""More than there are CPUs, since they wait for clients most of the time."""


class ChrootArchiver:
    """Implements RootArchiver on the workers of an unpacker."""

    def __init__(self, unpacker: ChrootUnpacker, *, max_entries: int, max_bytes: int) -> None:
        self._unpacker = unpacker
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._slots = asyncio.Semaphore(_WORKERS)

    async def stat(self, view: RootView, path: str) -> PathInfo:
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        async with self._job("stat", view, path, nothing) as job:
            return _path_info(await _plain(job))

    @contextlib.asynccontextmanager
    async def pack(
        self, view: RootView, path: str
    ) -> AsyncIterator[tuple[PathInfo, AsyncIterator[bytes]]]:
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        try:
            async with self._job("pack", view, path, write) as job:
                info = _path_info(await _plain(job))
                yield info, _chunks(job, read)
        finally:
            os.close(read)

    @contextlib.asynccontextmanager
    async def export(self, view: RootView) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._reading("export", view, "/") as chunks:
            yield chunks

    async def survey(self, view: RootView, selection: Selection) -> Surveyed:
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        async with self._job("survey", view, "/", nothing, _order(selection)) as job:
            return _surveyed(await _plain(job))

    @contextlib.asynccontextmanager
    async def gather(
        self, view: RootView, selection: Selection, placement: Placement
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        details = {**_order(selection), **asdict(placement)}
        async with self._reading("gather", view, "/", details) as chunks:
            yield chunks

    async def leave_out(self, folder: Path, patterns: Sequence[str]) -> None:
        _check_length(patterns)
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        details = {"patterns": list(patterns)}
        async with self._job("leave out", RootView(folder), "/", nothing, details) as job:
            await _plain(job)

    @contextlib.asynccontextmanager
    async def cat(self, view: RootView, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._reading("cat", view, path) as chunks:
            yield chunks

    @contextlib.asynccontextmanager
    async def _reading(
        self, kind: str, view: RootView, path: str, details: Message | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        try:
            async with self._job(kind, view, path, write, details) as job:
                yield _chunks(job, read)
        finally:
            os.close(read)

    async def extract(
        self, view: RootView, path: str, archive: AsyncIterator[bytes], rules: ExtractRules
    ) -> None:
        details = {
            **asdict(rules),
            "max_entries": self._max_entries,
            "max_bytes": self._max_bytes,
        }
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write, False)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, write)
            async with (
                self._job("extract", view, path, read, details) as job,
                task_group() as group,
            ):
                feeding = group.create_task(_feed(archive, stack, write))
                try:
                    await _finish(job)
                finally:
                    feeding.cancel()

    async def copy(self, rootfs: Path, path: str, target: Path) -> None:
        rules = ExtractRules(root_entry=True)
        async with self.pack(RootView(rootfs), f"{path.rstrip('/')}/.") as (_, chunks):
            await self.extract(RootView(target), "/", chunks, rules)

    @contextlib.asynccontextmanager
    async def _job(
        self, kind: str, view: RootView, path: str, stream: int, details: Message | None = None
    ) -> AsyncIterator[Job]:
        try:
            if "\0" in path:
                raise InvalidArgument("path", path, "has a NUL in it")
            order: Message = {
                "job": kind,
                "path": path,
                "mounts": [[m.source, m.target, m.readonly] for m in view.mounts],
                "readonly": view.readonly,
                "uid_mappings": [list(mapping) for mapping in view.uid_mappings],
                "gid_mappings": [list(mapping) for mapping in view.gid_mappings],
                **(details or {}),
            }
            folder = await obtain(None, os.close, open_folder, view.rootfs)
        except BaseException:
            os.close(stream)
            raise
        async with self._unpacker.job(order, folder, stream, self._slots) as job:
            yield job


async def _plain(job: Job) -> Message:
    """The next message, which comes without descriptors. Raises the worker's fault."""
    message, sent = await next_message(job)
    messages.close_all(sent)
    if message.get("type") == "fault":
        raise messages.decode_fault(message)
    return message


async def _finish(job: Job) -> None:
    while True:
        message, sent = await next_message(job)
        try:
            match message:
                case {"type": "xattr", "name": str(name), "value": str(value)}:
                    await run_blocking(None, set_attribute, sent, name, value)
                case {"type": "result"}:
                    return
                case _:
                    raise messages.decode_fault(message)
        finally:
            messages.close_all(sent)


def _order(selection: Selection) -> Message:
    _check_length((*selection.sources, *selection.exclude))
    return asdict(selection)


def _check_length(patterns: Sequence[str]) -> None:
    """They go to the worker in one packet."""
    if sum(len(os.fsencode(pattern)) + 8 for pattern in patterns) > _MAX_PATTERN_BYTES:
        raise ResourceExhausted("patterns", f"longer than {_MAX_PATTERN_BYTES} bytes together")


def _surveyed(message: Message) -> Surveyed:
    match message:
        case {
            "type": "result",
            "digest": str(digest),
            "count": int(count),
            "folders": int(folders),
            "archives": list(archives),
            "entries": int(entries),
            "size_bytes": int(size),
        }:
            return Surveyed(digest, count, folders, tuple(map(str, archives)), entries, size)
        case _:
            raise messages.decode_fault(message)


def _path_info(message: Message) -> PathInfo:
    match message:
        case {
            "type": "info",
            "name": str(name),
            "size": int(size),
            "mode": int(mode),
            "mtime_ns": int(mtime_ns),
            "link_target": str(target),
        }:
            return PathInfo(name, size, mode, mtime_ns, target)
        case _:
            raise messages.decode_fault(message)


async def _chunks(job: Job, read: int) -> AsyncIterator[bytes]:
    """What the worker writes, and then its word that this is all. Raises its fault."""
    while True:
        try:
            data = os.read(read, _READ_BYTES)
        except BlockingIOError:
            await readable(read)
            continue
        if not data:
            break
        yield data
    await _plain(job)


async def _feed(archive: AsyncIterator[bytes], stack: contextlib.ExitStack, write: int) -> None:
    """Send the archive to the worker; closes the pipe after its end alone. A worker that has ended does not mind."""
    async for chunk in archive:
        view = memoryview(chunk)
        while view:
            try:
                view = view[os.write(write, view) :]
            except BlockingIOError:
                await writable(write)
            except BrokenPipeError:
                return
    stack.close()
