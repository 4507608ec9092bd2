"""An uploaded archive on disk: in a file without a name, so that nothing is left of it whatever happens."""

import bz2
import errno
import gzip
import json
import lzma
import os
import tempfile
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final, cast

import zstandard

from sharedrt.aio.completion import obtain, run_blocking
from sharedrt.model.faults import Internal, InvalidArgument, ResourceExhausted
from sharedrt.model.records import Json
from sharedrt.wire.tar_index import Member, TarIndex, index_tar

_BATCH_BYTES: Final = 1 << 20
_MAX_DOCUMENT_BYTES: Final = 8 << 20
_NO_SPACE: Final = "no space left for the archive"


class Archive:
    """A spooled tar, open for reading. Nothing of it is ever unpacked by name onto the disk."""

    def __init__(self, file: IO[bytes], index: TarIndex) -> None:
        self._file, self.index = file, index

    async def read(self, name: str, limit: int = _MAX_DOCUMENT_BYTES) -> bytes:
        """A small member whole. Raises InvalidArgument when it is missing or too long."""
        member = self.index.get(name)
        if member.size > limit:
            raise InvalidArgument("archive", name, f"is longer than {limit} bytes")
        return await run_blocking(None, os.pread, self._file.fileno(), member.size, member.offset)

    async def json(self, name: str) -> Json:
        try:
            value: Json = json.loads(await self.read(name))
        except (ValueError, RecursionError) as error:
            raise InvalidArgument("archive", name, "is not valid JSON") from error
        return value

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        member = self.index.get(name)
        offset, end = member.offset, member.offset + member.size
        while offset < end:
            length = min(_BATCH_BYTES, end - offset)
            data = await run_blocking(None, os.pread, self._file.fileno(), length, offset)
            if not data:
                raise InvalidArgument("archive", name, "is cut short")
            offset += len(data)
            yield data

    def member(self, name: str) -> Member:
        return self.index.get(name)


@asynccontextmanager
async def spooled(chunks: AsyncIterator[bytes], folder: Path, limit: int) -> AsyncIterator[Archive]:
    """Take in an archive, plain or compressed (gzip, zstd, bzip2, xz), and find its members.

    Args:
        limit: most bytes, as it comes and uncompressed.

    Raises:
        InvalidArgument: no tar. ResourceExhausted: the disk, or ``limit``.
    """
    async with _spooled_plain(chunks, folder, limit) as (file, size):
        descriptor = file.fileno()
        index = await run_blocking(
            None, index_tar, lambda offset, length: os.pread(descriptor, length, offset), size
        )
        yield Archive(file, index)


@asynccontextmanager
async def uncompressed(
    chunks: AsyncIterator[bytes], folder: Path, limit: int
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The bytes of an archive without its compression, whatever is in it. Raises as :func:`spooled`."""
    async with _spooled_plain(chunks, folder, limit) as (file, size):
        yield _pieces(file, size)


async def _pieces(file: IO[bytes], size: int) -> AsyncIterator[bytes]:
    offset = 0
    while offset < size:
        data = await run_blocking(None, os.pread, file.fileno(), _BATCH_BYTES, offset)
        if not data:
            raise InvalidArgument("archive", "", "is cut short")
        offset += len(data)
        yield data


@asynccontextmanager
async def _spooled_plain(
    chunks: AsyncIterator[bytes], folder: Path, limit: int
) -> AsyncIterator[tuple[IO[bytes], int]]:
    file = await obtain(None, IO.close, _new_file, folder)
    try:
        size = await _write(chunks, file, limit)
        plain = await run_blocking(None, _uncompressed, file, folder, limit)
        if plain is not file:
            file.close()
            file = plain
            size = await run_blocking(None, os.lseek, file.fileno(), 0, os.SEEK_END)
        yield file, size
    finally:
        file.close()


def _new_file(folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return cast(IO[bytes], tempfile.TemporaryFile(dir=folder, buffering=0))


async def _write(chunks: AsyncIterator[bytes], file: IO[bytes], limit: int) -> int:
    pending: list[bytes] = []
    gathered = size = 0

    def flush(parts: list[bytes]) -> None:
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[os.write(file.fileno(), view) :]
        except OSError as error:
            raise _fault(error) from error

    async for chunk in chunks:
        pending.append(chunk)
        gathered += len(chunk)
        size += len(chunk)
        if size > limit:
            raise ResourceExhausted("archive", f"longer than {limit} bytes")
        if gathered >= _BATCH_BYTES:
            await run_blocking(None, flush, pending)
            pending, gathered = [], 0
    await run_blocking(None, flush, pending)
    return size


def _uncompressed(file: IO[bytes], folder: Path, limit: int) -> IO[bytes]:
    """The file itself, or another one with what it unpacks to."""
    magic = os.pread(file.fileno(), 6, 0)
    file.seek(0)
    reader: IO[bytes]
    if magic.startswith(b"\x1f\x8b"):
        reader = cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb"))
    elif magic.startswith(b"\x28\xb5\x2f\xfd"):
        reader = cast(
            IO[bytes], zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        )
    elif magic.startswith(b"BZh"):
        reader = cast(IO[bytes], bz2.BZ2File(file))
    elif magic.startswith(b"\xfd7zXZ\0"):
        reader = cast(IO[bytes], lzma.LZMAFile(file))  # noqa: SIM115
    else:
        return file
    plain = _new_file(folder)
    try:
        size = 0
        while data := reader.read(_BATCH_BYTES):
            size += len(data)
            if size > limit:
                raise ResourceExhausted("archive", f"unpacks to over {limit} bytes")
            plain.write(data)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError) as error:
        plain.close()
        raise InvalidArgument("archive", "", f"is corrupt: {error}") from error
    except OSError as error:
        plain.close()
        if error.errno is None:  # bz2's way to say that its input is corrupt
            raise InvalidArgument("archive", "", f"is corrupt: {error}") from error
        raise _fault(error) from error
    except BaseException:
        plain.close()
        raise
    return plain


def _fault(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted("disk", _NO_SPACE)
    return Internal("archive", error.strerror or str(error))
