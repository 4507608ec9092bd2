"""Layers of an image into folders, in parallel, and the rows that tell of them."""

import asyncio
import hashlib
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import zstandard

from sharedrt.model.faults import DataLoss, ResourceExhausted
from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.records import Descriptor, SnapshotKind, SnapshotRecord
from sharedrt.services.images.host import Hold, ImageHost, LayerUsage, layer_directory
from sharedrt.wire.media_types import is_plain_layer

_CHUNK_BYTES: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"

Progress = Callable[[int], None] | None


async def unpack_layer(
    host: ImageHost,
    hold: Hold,
    blob: Descriptor,
    diff_id: Digest,
    chain_id: SnapshotKey,
    progress: Progress = None,
) -> bool:
    """Have a layer's folder; False when it was there already.

    A folder is shared by everyone whose own blob unpacks to the same: that is checked for each, since the
    configuration that names the folder is the client's word only.

    Raises:
        DataLoss: the blob does not unpack to ``diff_id``, or is corrupt. InvalidArgument: hostile.
    """
    directory = layer_directory(chain_id)
    await hold.layer(directory)
    path = host.content.path(blob.digest)
    if await host.snapshotter.has_layer(directory):
        # Held, it stays. To prepare another one would cost each new container of the image a folder a layer.
        await _check_there(host, blob, path, diff_id, directory)
        return False
    async with host.snapshotter.prepare_layer(directory) as (target, commit):
        if await host.snapshotter.has_layer(directory):
            await _check_there(host, blob, path, diff_id, directory)
            return False
        result = await host.unpacker.apply(path, blob.media_type, target, progress=progress)
        if result.diff_id != diff_id:
            raise _wrong(blob, diff_id, result.diff_id)
        await commit()
    host.note_diff_id(blob.digest, diff_id)
    host.note_usage(directory, LayerUsage(result.size_bytes, result.inodes))
    return True


def snapshot_records(host: ImageHost, chain: Sequence[SnapshotKey]) -> list[SnapshotRecord]:
    """Rows of unpacked layers, the base first, as they must be added."""
    records = []
    parent: SnapshotKey | None = None
    for key in chain:
        directory = layer_directory(key)
        usage = host.usage_of(directory) or LayerUsage(0, 0)
        records.append(
            SnapshotRecord(
                key=key,
                kind=SnapshotKind.COMMITTED,
                parent=parent,
                directory=directory,
                size_bytes=usage.size_bytes,
                inodes=usage.inodes,
                created_ns=time.time_ns(),
            )
        )
        parent = key
    return records


async def _check_there(
    host: ImageHost, blob: Descriptor, path: Path, diff_id: Digest, directory: str
) -> None:
    """A folder that is there already is the blob's; its figures are known from now on."""
    loop = asyncio.get_running_loop()
    known = blob.digest if is_plain_layer(blob.media_type) else host.diff_id_of(blob.digest)
    if known is None or host.usage_of(directory) is None:
        async with host.hashing.hold(blob.digest):  # once for all who want to know
            known = known or host.diff_id_of(blob.digest)
            if known is None:
                known = await loop.run_in_executor(
                    host.hash_threads, _hash_unpacked, path, host.image_bytes_max
                )
                host.note_diff_id(blob.digest, known)
            if host.usage_of(directory) is None:
                folder = host.snapshotter.layer_path(directory)
                usage = await loop.run_in_executor(host.hash_threads, _walk, folder)
                host.note_usage(directory, usage)
    if known != diff_id:
        raise _wrong(blob, diff_id, known)


def _wrong(blob: Descriptor, expected: Digest, actual: Digest) -> DataLoss:
    return DataLoss(
        f"layer {blob.digest}", f"unpacks to {actual}, while the configuration says {expected}"
    )


def _hash_unpacked(path: Path, limit: int) -> Digest:
    """The digest of the uncompressed tar; the compression told by its first bytes."""
    digest = hashlib.sha256()
    size = 0
    try:
        for data in _unpacked(path):
            size += len(data)
            if size > limit:
                raise ResourceExhausted(f"layer {path.name}", f"unpacks to over {limit} bytes")
            digest.update(data)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise DataLoss(f"layer {path.name}", f"is corrupt: {error}") from error
    return Digest(f"sha256:{digest.hexdigest()}")


def _unpacked(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic == _ZSTD_MAGIC:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            while data := reader.read(_CHUNK_BYTES):
                yield data
            return
        if not magic.startswith(_GZIP_MAGIC):
            while data := file.read(_CHUNK_BYTES):
                yield data
            return
        member = zlib.decompressobj(wbits=31)
        rest = b""
        while data := rest or file.read(_CHUNK_BYTES):
            yield member.decompress(data, _CHUNK_BYTES)
            rest = member.unconsumed_tail
            if member.eof:
                rest = member.unused_data
                member = zlib.decompressobj(wbits=31)


def _walk(folder: Path) -> LayerUsage:
    """What a folder takes, each inode once."""
    seen: set[int] = set()
    size = 0
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(root, name))
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                size += status.st_blocks * 512
    return LayerUsage(size, len(seen))
