"""Unpacks layers in worker processes (:class:`sharedrt.model.drivers.LayerUnpacker`)."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import complete, obtain, run_blocking
from sharedrt.drivers.unpack import messages
from sharedrt.drivers.unpack.messages import Message
from sharedrt.drivers.unpack.zygote import Job, Zygote, readable
from sharedrt.model.drivers import LayerResult
from sharedrt.model.faults import (
    FailedPrecondition,
    Fault,
    Internal,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from sharedrt.model.ids import parse_digest

_LAYER_TYPES: Final = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
)
_COMPRESSIONS: Final = ("tar", "tar+gzip", "tar.gzip", "tar+zstd", "tar.zstd")
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES: Final = 1 << 20
_OPAQUE: Final = (b"trusted.overlay.opaque", b"y")


class ChrootUnpacker:
    """Implements LayerUnpacker. Close it with :meth:`aclose`.

    A cancelled call returns when its worker is dead, so that the target may be removed then.

    Args:
        max_entries: bound of a layer's entries.
        max_bytes: bound of a layer's uncompressed bytes.
        workers: how many at a time; the CPUs' number where 0.
        idle_s: how long the helper process outlives the last job.
    """

    def __init__(
        self,
        *,
        max_entries: int = 4_000_000,
        max_bytes: int = 64 << 30,
        workers: int = 0,
        idle_s: float = 10.0,
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(workers or len(os.sched_getaffinity(0)))
        self._idle_s = idle_s
        self._zygote: Zygote | None = None
        self._starting = asyncio.Lock()
        self._jobs = 0
        self._idle: asyncio.TimerHandle | None = None

    async def apply(
        self,
        blob: Path,
        media_type: str,
        target: Path,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> LayerResult:
        _check_media_type(media_type)
        order = {
            "job": "apply",
            "max_entries": self._max_entries,
            "max_bytes": self._max_bytes,
        }
        descriptors = await obtain(None, messages.close_all, _open_pair, target, blob)
        async with self.job(order, *descriptors) as job:
            while True:
                message, sent = await next_message(job)
                try:
                    match message:
                        case {"type": "consumed", "bytes": int(count)}:
                            if progress is not None:
                                progress(count)
                        case {"type": "xattr", "name": str(name), "value": str(value)}:
                            await run_blocking(None, set_attribute, sent, name, value)
                        case _:
                            return _layer_result(message)
                finally:
                    messages.close_all(sent)

    async def diff(
        self,
        upper: Path,
        sink: Callable[[bytes], Awaitable[None]],
        *,
        uid_mappings: Sequence[tuple[int, int, int]] = (),
        gid_mappings: Sequence[tuple[int, int, int]] = (),
        exclude: Sequence[str] = (),
        newest_ns: int | None = None,
    ) -> None:
        order = {
            "job": "diff",
            "uid_mappings": [list(mapping) for mapping in uid_mappings],
            "gid_mappings": [list(mapping) for mapping in gid_mappings],
            "exclude": list(exclude),
            "newest_ns": newest_ns,
        }
        folder = await obtain(None, os.close, open_folder, upper)
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        try:
            async with self.job(order, folder, write) as job:
                while True:
                    try:
                        data = os.read(read, _READ_BYTES)
                    except BlockingIOError:
                        await readable(read)
                        continue
                    if not data:
                        break
                    await sink(data)
                message, sent = await next_message(job)
                messages.close_all(sent)
                if message.get("type") != "result":
                    raise messages.decode_fault(message)
        finally:
            os.close(read)

    async def aclose(self) -> None:
        """End the helper process. No call may be under way."""
        if self._idle is not None:
            self._idle.cancel()
        if self._zygote is not None:
            self._zygote.close()
            await self._zygote.wait()

    @contextlib.asynccontextmanager
    async def job(
        self, order: Message, folder: int, stream: int, slots: asyncio.Semaphore | None = None
    ) -> AsyncIterator[Job]:
        """A worker at its job, gone when the block is left. Closes the descriptors.

        Args:
            slots: bound of such jobs at a time; ``None``: the one of layers.
        """
        slots = slots or self._slots
        try:
            await slots.acquire()
        except BaseException:
            messages.close_all((folder, stream))
            raise
        job = Job()
        self._jobs += 1
        try:
            try:
                await self._submit(job, order, folder, stream)
            finally:
                messages.close_all((folder, stream))
            yield job
        finally:
            try:
                await complete(job.end())
            finally:
                slots.release()
                self._jobs -= 1
                self._rest()

    async def _submit(self, job: Job, order: Message, folder: int, stream: int) -> None:
        async with self._starting:
            if self._idle is not None:
                self._idle.cancel()
            for attempt in (1, 2):
                if self._zygote is None or not self._zygote.running:
                    self._zygote = await Zygote.start()
                try:
                    job.submit(self._zygote, order, folder, stream)
                except OSError as error:
                    # It was killed a moment ago.
                    self._zygote.close()
                    await self._zygote.wait()
                    if attempt == 2:
                        raise Internal("layer worker", f"cannot be reached: {error}") from error
                else:
                    return

    def _rest(self) -> None:
        """Let the helper end when it has had nothing to do for a while."""
        if not self._jobs and self._zygote is not None:
            if self._idle is not None:
                self._idle.cancel()
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self._idle_s, self._zygote.close)


async def next_message(job: Job) -> tuple[Message, list[int]]:
    """The worker's next message. Raises Internal when it has ended without one."""
    received = await job.receive()
    if received is None:
        raise Internal("layer worker", "ended before its work (killed, or out of memory)")
    return received


def _check_media_type(media_type: str) -> None:
    """Raises Unimplemented for what is no tar, or one that is encrypted or compressed in another way."""
    if media_type.startswith(_LAYER_TYPES) and media_type.endswith(_COMPRESSIONS):
        return
    raise Unimplemented(f"a layer of media type {media_type!r}")


def _open_pair(target: Path, blob: Path) -> tuple[int, int]:
    folder = open_folder(target)
    try:
        return folder, os.open(blob, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        os.close(folder)
        raise _open_fault(blob, error) from error


def open_folder(path: Path) -> int:
    """Raises NotFound (kind ``file``), Internal."""
    try:
        return os.open(path, _FOLDER)
    except OSError as error:
        raise _open_fault(path, error) from error


def _open_fault(path: Path, error: OSError) -> Fault:
    if isinstance(error, FileNotFoundError):
        return NotFound("file", str(path))
    return Internal(str(path), error.strerror or "cannot be opened")


def set_attribute(descriptors: list[int], name_hex: str, value_hex: str) -> None:
    """Set a ``trusted.*`` attribute for a worker, who could ask for anything.

    Raises:
        Internal: for what a sound worker never asks. FailedPrecondition: the file system has none.
    """
    try:
        name, value = bytes.fromhex(name_hex), bytes.fromhex(value_hex)
        (descriptor,) = descriptors
    except ValueError as error:
        raise Internal("layer worker", "a malformed request") from error
    overlay = name.startswith(b"trusted.overlay.")
    if not name.startswith(b"trusted.") or (overlay and (name, value) != _OPAQUE):
        raise Internal("layer worker", f"asked for the attribute {name!r}")
    try:
        os.setxattr(descriptor, name, value)
    except OSError as error:
        if error.errno == errno.ENOTSUP and not overlay:
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted("disk", f"no space left for {name.decode()}") from error
        raise FailedPrecondition(
            "state folder", "", f"its file system refuses {name!r}: {error.strerror}"
        ) from error


def _layer_result(message: Message) -> LayerResult:
    match message:
        case {
            "type": "result",
            "diff_id": str(text),
            "size_bytes": int(size),
            "inodes": int(nodes),
        }:
            return LayerResult(parse_digest(text), size, nodes)
        case _:
            raise messages.decode_fault(message)
