"""A layer blob to the tar inside: decompressed, hashed and counted on a thread of its own.

isal and hashlib let go of the interpreter's lock, so this runs beside the writing of files.
"""

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol, cast

from sharedrt.model.faults import DataLoss, ResourceExhausted

CHUNK: Final = 1 << 20
_AHEAD: Final = 8
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE: Final = frozenset(bytes((n, 0x2A, 0x4D, 0x18)) for n in range(0x50, 0x60))
_BZIP2_MAGIC: Final = b"BZh"
_XZ_MAGIC: Final = b"\xfd7zXZ\0"
_XZ_MEMORY: Final = 256 << 20
_ZSTD_MAX_WINDOW: Final = 128 << 20
_ZSTD_INPUT: Final = 4 << 10
"""At once: four bytes can stand for a block of 128 KiB, so this bounds the output to 128 MiB."""

Chunks = Iterator[bytes]


class LayerStream:
    """The uncompressed bytes of an open blob, with their digest once all are read.

    Make it before the chroot: a decompressor's module is loaded here, the one that the blob's first
    bytes call for. (Media types are wrong often enough that containerd and Docker look there, too.)

    Args:
        descriptor: the blob, open for reading; at its start.
        max_bytes: bound of the uncompressed size.
        consumed: called on the thread with the compressed bytes read so far.
    """

    def __init__(self, descriptor: int, max_bytes: int, consumed: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._max_bytes = max_bytes
        self._consumed = consumed
        self._hash = hashlib.sha256()
        self._head = _read_head(descriptor)  # not by pread: it may be a pipe
        magic = self._head[:4]
        self._decompress: Callable[[Chunks], Chunks]
        if magic[:2] == _GZIP_MAGIC:
            self._decompress = _gunzip()
        elif magic == _ZSTD_MAGIC or magic in _ZSTD_SKIPPABLE:
            self._decompress = _unzstd()
        elif self._head.startswith(_BZIP2_MAGIC):
            self._decompress = _bunzip2()
        elif self._head == _XZ_MAGIC:
            self._decompress = _unxz()
        else:
            self._decompress = iter

    def chunks(self) -> Chunks:
        """The bytes, in pieces. Raises DataLoss, ResourceExhausted, OSError."""
        ahead: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        threading.Thread(target=self._produce, args=(ahead,), daemon=True).start()
        while (item := ahead.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def diff_id(self) -> str:
        """Digest of what :meth:`chunks` gave, once that has ended."""
        return f"sha256:{self._hash.hexdigest()}"

    def _produce(self, ahead: "queue.Queue[bytes | BaseException | None]") -> None:
        total = 0
        try:
            for chunk in self._decompress(self._read()):
                total += len(chunk)
                if total > self._max_bytes:
                    raise ResourceExhausted("layer", f"unpacks to over {self._max_bytes} bytes")
                self._hash.update(chunk)
                ahead.put(chunk)
        except BaseException as error:  # noqa: BLE001 - raised by who reads, and who would wait for ever
            ahead.put(error)
        else:
            ahead.put(None)

    def _read(self) -> Chunks:
        total = len(self._head)
        if total:
            yield self._head
        while data := os.read(self._descriptor, CHUNK):
            total += len(data)
            yield data
            self._consumed(total)


def _read_head(descriptor: int) -> bytes:
    """As many of the first bytes as tell the compression."""
    head = b""
    while len(head) < len(_XZ_MAGIC) and (data := os.read(descriptor, len(_XZ_MAGIC) - len(head))):
        head += data
    return head


def _gunzip() -> Callable[[Chunks], Chunks]:
    from isal import igzip_lib

    malformed = cast("type[Exception]", igzip_lib.IsalError)  # the stub says an instance

    def gunzip(source: Chunks) -> Chunks:
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        fresh = False  # between members, where the stream may end
        for data in source:
            while data or not member.needs_input:
                if member.eof:
                    # What follows the last member and is none itself is ignored, as gzip does.
                    if not _begins(data, _GZIP_MAGIC):
                        return
                    member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
                try:
                    output = member.decompress(data, CHUNK)
                except malformed as error:
                    raise DataLoss("layer", f"malformed gzip: {error}") from error
                data = member.unused_data if member.eof else b""
                if output:
                    yield output
                fresh = member.eof
                if member.eof and not data:
                    break
        if not fresh:
            raise DataLoss("layer", "truncated gzip")

    return gunzip


def _unzstd() -> Callable[[Chunks], Chunks]:
    import zstandard

    context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW)

    def unzstd(source: Chunks) -> Chunks:
        frame = context.decompressobj()
        fresh = False
        for data in source:
            ready: list[bytes] = []
            waiting = 0
            for at in range(0, len(data), _ZSTD_INPUT):
                piece = data[at : at + _ZSTD_INPUT]
                while piece:
                    if frame.eof:
                        frame = context.decompressobj()
                    try:
                        ready.append(frame.decompress(piece))
                    except zstandard.ZstdError as error:
                        raise DataLoss("layer", f"malformed zstd: {error}") from error
                    piece = frame.unused_data if frame.eof else b""
                    fresh = frame.eof
                    waiting += len(ready[-1])
                    if waiting >= CHUNK:
                        yield b"".join(ready)
                        ready.clear()
                        waiting = 0
            if waiting:
                yield b"".join(ready)
        if not fresh:
            raise DataLoss("layer", "truncated zstd")

    return unzstd


def _bunzip2() -> Callable[[Chunks], Chunks]:
    import bz2

    return lambda source: _by_stdlib(source, bz2.BZ2Decompressor, (OSError, ValueError), "bzip2")


def _unxz() -> Callable[[Chunks], Chunks]:
    import lzma

    def make() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    return lambda source: _by_stdlib(source, make, (lzma.LZMAError,), "xz")


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _by_stdlib(
    source: Chunks,
    make: Callable[[], _Decompressor],
    malformed: tuple[type[Exception], ...],
    name: str,
) -> Chunks:
    member = make()
    fresh = False
    for data in source:
        while data or not (member.needs_input or member.eof):
            if member.eof:
                member = make()
            try:
                output = member.decompress(data, CHUNK)
            except malformed as error:
                raise DataLoss("archive", f"malformed {name}: {error}") from error
            data = member.unused_data if member.eof else b""
            fresh = member.eof
            if output:
                yield output
    if not fresh:
        raise DataLoss("archive", f"truncated {name}")


def _begins(data: bytes, magic: bytes) -> bool:
    """Whether data may begin with the magic, so far as it goes."""
    return data[: len(magic)] == magic[: len(data)]
