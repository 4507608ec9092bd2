"""Images made here, of layers that are written here: commits, imports (and builds)."""

import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from sharedrt.model.faults import Internal
from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.records import BlobRecord, Descriptor, Json, SnapshotRecord
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.events import NewEvent
from sharedrt.services.images.host import Hold, ImageHost, layer_directory
from sharedrt.services.images.image import Image
from sharedrt.services.images.register import Registrar
from sharedrt.services.images.rows import ImageRows
from sharedrt.services.images.spool import uncompressed
from sharedrt.services.images.unpack import snapshot_records, unpack_layer
from sharedrt.wire import media_types
from sharedrt.wire.oci_image import chain_ids, descriptor_json

Sink = Callable[[bytes], Awaitable[None]]

_EMPTY_TAR_BYTES = 1024
"""Two blocks of zeros: an archive without entries."""


@dataclass(frozen=True, slots=True)
class NewLayer:
    """A layer as the image's manifest and configuration name it. ``empty``: it changes nothing."""

    blob: Descriptor
    diff_id: Digest
    empty: bool = False


class Composer:
    """Puts one image together. Made by ``Images.composing``; what it wrote and :meth:`finish` did not take up is
    collected when the block fails."""

    def __init__(
        self, host: ImageHost, store: NamespacedStore, rows: ImageRows, hold: Hold
    ) -> None:
        self._host, self._store, self._rows, self._hold = host, store, rows, hold
        self._own: set[Digest] = set()

    async def base(self, image: Image) -> list[NewLayer]:
        """The layers of an image to build on, which stay from now on."""
        await self._hold.image(image)
        return [
            NewLayer(blob, diff_id)
            for blob, diff_id in zip(image.layer_blobs, image.config.diff_ids, strict=True)
        ]

    async def keep(self, layers: Sequence[NewLayer]) -> None:
        """Layers of this namespace that stay from now on, once the caller has found them still there."""
        for layer, key in zip(layers, _chain(layers), strict=True):
            await self._hold.blob(layer.blob.digest)
            await self._hold.layer(layer_directory(key))

    async def unpack(self, layers: Sequence[NewLayer]) -> Sequence[str]:
        """Have the topmost layer's folder; the names of all folders, topmost first, as a mount wants them."""
        chain = _chain(layers)
        if layers:
            top = layers[-1]
            await unpack_layer(self._host, self._hold, top.blob, top.diff_id, chain[-1])
        return [layer_directory(key) for key in reversed(chain)]

    def rows(self, layers: Sequence[NewLayer]) -> tuple[BlobRecord, list[SnapshotRecord]]:
        """What the database has to know of layers, the topmost of which was made here: its blob, and all snapshots."""
        now = time.time_ns()
        blob = layers[-1].blob
        record = BlobRecord(blob.digest, blob.size, blob.media_type, created_ns=now, updated_ns=now)
        return record, snapshot_records(self._host, _chain(layers))

    async def layer(self, write: Callable[[Sink], Awaitable[None]]) -> NewLayer:
        """A layer of what ``write`` puts into the sink it gets: a tar, not compressed.

        Raises:
            ResourceExhausted: the disk. Whatever ``write`` raises.
        """
        reference = f"{self._store.namespace}/layer-{secrets.token_hex(8)}"
        async with self._host.content.ingest(reference) as ingest:
            try:
                await write(ingest.write)
            except BaseException:
                await ingest.truncate()
                raise
            digest, size = await ingest.commit(None, None)
        await self._hold.blob(digest)
        if await self._host.content.size(digest) is None:
            raise Internal("layer", "was collected as garbage while it was being written")
        self._own.add(digest)
        blob = Descriptor(media_types.OCI_LAYER, digest, size)
        return NewLayer(blob, digest, size <= _EMPTY_TAR_BYTES)

    async def layer_of_archive(self, chunks: AsyncIterator[bytes]) -> NewLayer:
        """A layer of a tar that a client sends, compressed in any way or not. Raises InvalidArgument when
        it is corrupt; whether it is a tar shows in :meth:`finish`."""
        limit = self._host.image_bytes_max
        async with uncompressed(chunks, self._host.content.scratch, limit) as pieces:

            async def write(sink: Sink) -> None:
                async for data in pieces:
                    await sink(data)

            return await self.layer(write)

    async def finish(
        self,
        config: dict[str, Json],
        layers: Sequence[NewLayer],
        names: Sequence[str],
        event: Callable[[Digest], NewEvent],
    ) -> Image:
        """Write configuration and manifest, unpack, and give the image its rows.

        Args:
            config: an OCI image configuration; its ``rootfs`` is set here.
            names: full references; none: the image has its id for one.
            event: of the image's id, which tells of it.
        """
        document: dict[str, Json] = {
            **config,
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        }
        config_blob = await self._put(_encode(document), media_types.OCI_CONFIG)
        manifest: dict[str, Json] = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": descriptor_json(config_blob),
            "layers": [descriptor_json(_as_oci(layer.blob)) for layer in layers],
        }
        target = await self._put(_encode(manifest), media_types.OCI_MANIFEST)
        registrar = Registrar(self._host, self._store, self._rows, self._hold)
        what = names[0] if names else str(config_blob.digest)
        documents = await registrar.documents(target, None, what, own=self._own, strict=False)
        return await registrar.register(documents, names, event(config_blob.digest), own=self._own)

    async def _put(self, data: bytes, media_type: str) -> Descriptor:
        digest = Digest("sha256:" + hashlib.sha256(data).hexdigest())
        await self._hold.blob(digest)
        async with self._host.content.ingest(f"{self._store.namespace}/{digest}") as ingest:
            await ingest.truncate()
            await ingest.write(data)
            await ingest.commit(digest, len(data))
        self._own.add(digest)
        return Descriptor(media_type, digest, len(data))


def _chain(layers: Sequence[NewLayer]) -> tuple[SnapshotKey, ...]:
    return chain_ids([layer.diff_id for layer in layers])


def _as_oci(blob: Descriptor) -> Descriptor:
    """A layer as an OCI manifest names it: Docker's types are other words for the same bytes."""
    return replace(blob, media_type=media_types.OCI_NAMES.get(blob.media_type, blob.media_type))


def _encode(document: dict[str, Json]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
