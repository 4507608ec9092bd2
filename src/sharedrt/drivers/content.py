"""Blobs by digest, one file each (:class:`sharedrt.model.drivers.ContentStore`).

::

    <root>/blobs/sha256/<hex>       complete, verified, read-only
    <root>/ingest/<sha256 of the reference>/data    what has arrived so far
                                           /meta    the reference, for whoever looks at the folder

A blob's name appears by one rename, after its bytes and before its folder entry are synced, so whatever is
below ``blobs`` is whole. An ingest survives a crash: the next one of its name hashes what is there and goes
on behind it. All file work and hashing is on threads, in batches of a mebibyte.
"""

import asyncio
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Final, ParamSpec, TypeVar

from sharedrt.aio.completion import obtain, run_blocking
from sharedrt.aio.locks import KeyedLocks
from sharedrt.model.faults import (
    DataLoss,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from sharedrt.model.ids import Digest, parse_digest

P = ParamSpec("P")
T = TypeVar("T")

BATCH_BYTES: Final = 1 << 20
_ALGORITHMS: Final = ("sha256", "sha512")


class FileContentStore:
    """Implements ContentStore below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blobs = root / "blobs"
        self._ingests = root / "ingest"
        self._locks = KeyedLocks()
        self._open: set[str] = set()

    @property
    def scratch(self) -> Path:
        return self._root

    def path(self, digest: Digest) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self._blobs / algorithm / encoded

    @asynccontextmanager
    async def ingest(self, reference: str) -> AsyncIterator["FileIngest"]:
        """See the contract. Left without a commit, what has arrived stays for the next one, but for one thing:
        what has filled the disk is given back at once."""
        name = hashlib.sha256(reference.encode()).hexdigest()
        folder = self._ingests / name
        async with self._locks.hold(name):
            ingest = FileIngest(self, folder, reference)
            self._open.add(name)
            try:
                await ingest.open()
                yield ingest
            except ResourceExhausted:
                await run_blocking(None, ingest.discard)
                raise
            finally:
                try:
                    await run_blocking(None, ingest.close)
                finally:
                    self._open.discard(name)

    async def read(self, digest: Digest, *, limit: int = 8 << 20) -> bytes:
        def work() -> bytes:
            with open(self.path(digest), "rb") as file:
                data = file.read(limit + 1)
            if len(data) > limit:
                raise ResourceExhausted(f"blob {digest}", f"longer than {limit} bytes")
            return data

        return await _run(digest, work)

    async def stream(
        self, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        with _faults(digest):
            file = await obtain(None, IO.close, open, self.path(digest), "rb")
        try:
            await _run(digest, file.seek, offset)
            left = length
            while left is None or left > 0:
                wanted = BATCH_BYTES if left is None else min(left, BATCH_BYTES)
                data = await _run(digest, file.read, wanted)
                if not data:
                    return
                if left is not None:
                    left -= len(data)
                yield data
        finally:
            file.close()

    async def size(self, digest: Digest) -> int | None:
        try:
            return (await asyncio.to_thread(os.stat, self.path(digest))).st_size
        except FileNotFoundError:
            return None

    async def delete(self, digest: Digest) -> bool:
        def work() -> bool:
            try:
                os.unlink(self.path(digest))
            except FileNotFoundError:
                return False
            return True

        return await _run(digest, work)

    async def digests(self) -> Sequence[Digest]:
        def work() -> list[Digest]:
            found = []
            for algorithm in _ALGORITHMS:
                folder = self._blobs / algorithm
                names = sorted(os.listdir(folder)) if folder.is_dir() else []
                for name in names:
                    try:
                        found.append(parse_digest(f"{algorithm}:{name}"))
                    except InvalidArgument:
                        continue  # not ours, so not ours to remove either
            return found

        return await asyncio.to_thread(work)

    async def discard_ingests(self, *, idle_s: float) -> int:
        def stale() -> list[str]:
            found = []
            for entry in os.scandir(self._ingests) if self._ingests.is_dir() else ():
                try:
                    touched = max(entry.stat().st_mtime, *_mtimes(entry.path))
                except FileNotFoundError:
                    continue  # committed meanwhile
                if time.time() - touched >= idle_s:
                    found.append(entry.name)
            return found

        count = 0
        for name in await asyncio.to_thread(stale):
            if name in self._open:
                continue
            async with self._locks.hold(name):
                await asyncio.to_thread(shutil.rmtree, self._ingests / name, ignore_errors=True)
                count += 1
        return count


class FileIngest:
    """Implements Ingest: bytes are gathered and go to disk and hash together, on a thread."""

    def __init__(self, store: FileContentStore, folder: Path, reference: str) -> None:
        self._store, self._folder, self._reference = store, folder, reference
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._flushed = 0
        self._hash = hashlib.sha256()
        self._fd = -1

    @property
    def offset(self) -> int:
        return self._flushed + self._pending_size

    async def open(self) -> None:
        """Open the file and hash what an earlier ingest has left in it."""

        def work() -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            meta = self._folder / "meta"
            if not meta.exists():
                meta.write_text(json.dumps({"reference": self._reference}))
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND
            self._fd = os.open(self._folder / "data", flags, 0o600)
            with open(self._fd, "rb", closefd=False) as file:
                while data := file.read(BATCH_BYTES):
                    self._hash.update(data)
                    self._flushed += len(data)

        await _run(self._reference, work)

    async def write(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_size += len(data)
        if self._pending_size >= BATCH_BYTES:
            await self._flush()

    async def truncate(self) -> None:
        self._pending.clear()
        self._pending_size = self._flushed = 0
        self._hash = hashlib.sha256()
        await _run(self._reference, os.ftruncate, self._fd, 0)

    async def commit(self, expected: Digest | None, size: int | None) -> tuple[Digest, int]:
        await self._flush()
        if expected is not None and not expected.startswith("sha256:"):
            actual = await _run(self._reference, self._hash_again, expected.partition(":")[0])
        else:
            actual = Digest("sha256:" + self._hash.hexdigest())
        if (expected is not None and actual != expected) or (
            size is not None and self._flushed != size
        ):
            flushed = self._flushed
            await run_blocking(None, self.discard)
            if expected is not None and actual != expected:
                raise DataLoss(f"content {expected}", f"has the digest {actual}")
            raise DataLoss(f"content {actual}", f"has {flushed} bytes, not {size}")
        await _run(self._reference, self._move, actual)
        return actual, self._flushed

    def close(self) -> None:
        """Write out what has arrived, for the next ingest of this name; remove one that has nothing."""
        if self._fd < 0:
            return
        try:
            if self._pending:
                self._write_pending(self._pending)
        except OSError:
            self._flushed = 0  # a full disk
        finally:
            self._pending = []
            os.close(self._fd)
            self._fd = -1
        if not self._flushed:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _flush(self) -> None:
        pending, self._pending, self._pending_size = self._pending, [], 0
        if pending:
            # To the end even when cancelled: the hash and the file must agree about every byte.
            await _run(self._reference, self._write_pending, pending)

    def _write_pending(self, pending: list[bytes]) -> None:
        for data in pending:
            view = memoryview(data)
            while view:
                done = os.write(self._fd, view)
                self._hash.update(view[:done])
                self._flushed += done
                view = view[done:]

    def _hash_again(self, algorithm: str) -> Digest:
        digest = hashlib.new(algorithm)
        with open(self._folder / "data", "rb") as file:
            while data := file.read(BATCH_BYTES):
                digest.update(data)
        return Digest(f"{algorithm}:{digest.hexdigest()}")

    def _move(self, digest: Digest) -> None:
        target = self._store.path(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.fchmod(self._fd, 0o444)
            os.fsync(self._fd)
            os.rename(self._folder / "data", target)
            _sync_folder(target.parent)
        self.discard()

    def discard(self) -> None:
        """Close it and remove what has arrived."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        shutil.rmtree(self._folder, ignore_errors=True)


def _mtimes(folder: str) -> list[float]:
    return [entry.stat().st_mtime for entry in os.scandir(folder)] or [0.0]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _run(what: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """On a thread, to its end even when cancelled, with file errors as faults."""
    with _faults(what):
        return await run_blocking(None, function, *args, **kwargs)


@contextmanager
def _faults(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise NotFound("content", what) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted("disk", f"no space left for {what}") from error
        raise Internal(f"content {what}", error.strerror or str(error)) from error
