"""Loading archives: of ``docker save`` (any version) and OCI image layouts.

Docker since 25 writes archives that are both; the layout is preferred, since it keeps the manifests that
digests refer to, and ``manifest.json`` adds names. What the layout lacks is taken from ``manifest.json``.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sharedrt.model.faults import DataLoss, InvalidArgument
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor, Json
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.images.documents import MAX_MANIFEST_BYTES, choose_manifest, parsed
from sharedrt.services.images.host import Hold, ImageHost
from sharedrt.services.images.image import Image, PullListener, PullPhase, PullProgress
from sharedrt.services.images.register import Registrar
from sharedrt.services.images.rows import ImageRows
from sharedrt.services.images.spool import Archive, spooled
from sharedrt.services.images.told import image_event
from sharedrt.wire import media_types
from sharedrt.wire.oci_image import (
    Index,
    descriptor_json,
    parse_config,
    parse_target,
)
from sharedrt.wire.platforms import Platform
from sharedrt.wire.reference import parse_name, parse_reference

LoadListener = PullListener

_NAME_ANNOTATION: Final = "io.containerd.image.name"
_REF_ANNOTATION: Final = "org.opencontainers.image.ref.name"
_MAX_IMAGES: Final = 1000
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image of an archive. ``references``: the full names that it had there and has now; maybe none."""

    image: Image
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _SavedImage:
    """An entry of ``manifest.json``."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


class ArchiveLoader:
    """Loads into one namespace."""

    def __init__(
        self,
        host: ImageHost,
        store: NamespacedStore,
        rows: ImageRows,
        platform: Platform,
        *,
        strict: bool = False,
    ) -> None:
        """``strict``: an image for another platform is refused, even where there is nothing to choose from."""
        self._host, self._store, self._rows = host, store, rows
        self._platform, self._strict = platform, strict

    async def load(
        self, chunks: AsyncIterator[bytes], tell: LoadListener | None
    ) -> Sequence[LoadedImage]:
        """See ``Images.load``."""
        async with spooled(
            chunks, self._host.content.scratch, self._host.image_bytes_max
        ) as archive:
            saved = await _saved_images(archive)
            if "index.json" in archive.index and "oci-layout" in archive.index:
                return await self._load_layout(archive, saved, tell)
            if not saved:
                raise InvalidArgument(
                    "archive", "", "is neither of docker save nor an OCI image layout"
                )
            return [await self._load_saved(archive, image, tell) for image in saved]

    async def _load_layout(
        self, archive: Archive, saved: Sequence[_SavedImage], tell: LoadListener | None
    ) -> Sequence[LoadedImage]:
        index = await parsed(parse_target, await archive.read("index.json"), media_types.OCI_INDEX)
        assert isinstance(index, Index)
        targets: dict[Digest, tuple[Descriptor, list[str]]] = {}
        for entry in index.manifests:
            _, names = targets.setdefault(entry.digest, (replace(entry, annotations={}), []))
            if (name := _name_of(entry)) and name not in names:
                names.append(name)
        if len(targets) > _MAX_IMAGES:
            raise InvalidArgument("archive", len(targets), f"has more than {_MAX_IMAGES} images")
        return [
            await self._load_target(archive, target, names, saved, tell)
            for target, names in targets.values()
        ]

    async def _load_target(
        self,
        archive: Archive,
        target: Descriptor,
        names: Sequence[str],
        saved: Sequence[_SavedImage],
        tell: LoadListener | None,
    ) -> LoadedImage:
        async with self._host.hold() as hold:
            own: set[Digest] = set()
            what = names[0] if names else target.digest
            manifest = target
            data = await self._take(archive, target, hold, own, MAX_MANIFEST_BYTES)
            document = await parsed(parse_target, data, target.media_type)
            if isinstance(document, Index):
                manifest = choose_manifest(document, self._platform, what)
                data = await self._take(archive, manifest, hold, own, MAX_MANIFEST_BYTES)
                document = await parsed(parse_target, data, manifest.media_type)
                if isinstance(document, Index):
                    raise InvalidArgument("index", target.digest, "an index inside an index")
            for blob in (document.config, *document.layers):
                if tell is not None and blob != document.config:
                    tell(PullProgress(blob.digest, PullPhase.PULLING_FS_LAYER, total=blob.size))
                await self._take(archive, blob, hold, own)
            hexadecimal = document.config.digest.partition(":")[2]
            listed = list(names) or [
                name for image in saved if hexadecimal in image.config for name in image.names
            ]
            return await self._finish(hold, target, listed, own, tell)

    async def _load_saved(
        self, archive: Archive, saved: _SavedImage, tell: LoadListener | None
    ) -> LoadedImage:
        """An image without a manifest: one is made, of layers as they are."""
        raw = await archive.read(saved.config)
        config = await parsed(parse_config, raw)
        if len(config.diff_ids) != len(saved.layers):
            raise InvalidArgument(
                "archive", saved.config, "layers and diff ids do not belong together"
            )
        async with self._host.hold() as hold:
            own: set[Digest] = set()
            config_blob = await self._put(raw, media_types.OCI_CONFIG, hold, own)
            layers = []
            for name, diff_id in zip(saved.layers, config.diff_ids, strict=True):
                layer = await self._describe_layer(archive, name, diff_id)
                if tell is not None:
                    tell(PullProgress(layer.digest, PullPhase.PULLING_FS_LAYER, total=layer.size))
                await self._ingest(archive, name, layer, hold, own)
                layers.append(layer)
            document: dict[str, Json] = {
                "schemaVersion": 2,
                "mediaType": media_types.OCI_MANIFEST,
                "config": descriptor_json(config_blob),
                "layers": [descriptor_json(layer) for layer in layers],
            }
            data = json.dumps(document, separators=(",", ":")).encode()
            target = await self._put(data, media_types.OCI_MANIFEST, hold, own)
            return await self._finish(hold, target, saved.names, own, tell)

    async def _finish(
        self,
        hold: Hold,
        target: Descriptor,
        names: Sequence[str],
        own: set[Digest],
        tell: LoadListener | None,
    ) -> LoadedImage:
        registrar = Registrar(self._host, self._store, self._rows, hold)
        what = names[0] if names else target.digest
        documents = await registrar.documents(
            replace(target, annotations={}), self._platform, what, own=own, strict=self._strict
        )
        id = documents.config_blob.digest
        reference = names[0] if names else id
        event = image_event("load", id, id, labels=documents.config.labels, reference=reference)
        image = await registrar.register(documents, names, event, own=own, tell=tell)
        return LoadedImage(image, tuple(names))

    async def _describe_layer(self, archive: Archive, name: str, diff_id: Digest) -> Descriptor:
        """A layer's blob: its digest is the diff id when it is a plain tar, else it has to be hashed first."""
        size = archive.member(name).size
        media_type = media_types.OCI_LAYER
        digest = hashlib.sha256()
        async for data in archive.stream(name):
            if media_type == media_types.OCI_LAYER:
                if data.startswith(_GZIP):
                    media_type = media_types.OCI_LAYER_GZIP
                elif data.startswith(_ZSTD):
                    media_type = media_types.OCI_LAYER_ZSTD
                else:
                    return Descriptor(media_type, diff_id, size)
            digest.update(data)
        return Descriptor(media_type, Digest(f"sha256:{digest.hexdigest()}"), size)

    async def _take(
        self,
        archive: Archive,
        blob: Descriptor,
        hold: Hold,
        own: set[Digest],
        limit: int = 0,
    ) -> bytes:
        """Ingest a blob of a layout; its bytes when ``limit`` is given."""
        algorithm, _, encoded = blob.digest.partition(":")
        name = f"blobs/{algorithm}/{encoded}"
        if archive.member(name).size != blob.size:
            raise DataLoss(f"archive: {name}", f"has not {blob.size} bytes")
        await self._ingest(archive, name, blob, hold, own)
        return await self._host.content.read(blob.digest, limit=limit) if limit else b""

    async def _ingest(
        self, archive: Archive, name: str, blob: Descriptor, hold: Hold, own: set[Digest]
    ) -> None:
        """The archive's own bytes, whatever is there already: they prove that its sender has them."""
        await hold.blob(blob.digest)
        content = self._host.content
        async with content.ingest(f"{self._store.namespace}/{blob.digest}") as ingest:
            await ingest.truncate()
            try:
                async for data in archive.stream(name):
                    await ingest.write(data)
            except BaseException:
                await ingest.truncate()  # no archive is resumed
                raise
            await ingest.commit(blob.digest, blob.size)
        own.add(blob.digest)

    async def _put(self, data: bytes, media_type: str, hold: Hold, own: set[Digest]) -> Descriptor:
        digest = Digest("sha256:" + hashlib.sha256(data).hexdigest())
        await hold.blob(digest)
        async with self._host.content.ingest(f"{self._store.namespace}/{digest}") as ingest:
            await ingest.truncate()
            await ingest.write(data)
            await ingest.commit(digest, len(data))
        own.add(digest)
        return Descriptor(media_type, digest, len(data))


async def _saved_images(archive: Archive) -> list[_SavedImage]:
    if "manifest.json" not in archive.index:
        return []
    document = await archive.json("manifest.json")
    if not isinstance(document, list) or len(document) > _MAX_IMAGES:
        raise InvalidArgument("archive", "manifest.json", "is no list of images")
    return [_saved_image(entry) for entry in document]


def _saved_image(entry: Json) -> _SavedImage:
    if not isinstance(entry, dict):
        raise InvalidArgument("archive", "manifest.json", "has an entry that is no object")
    config, layers, names = entry.get("Config"), entry.get("Layers"), entry.get("RepoTags")
    if not isinstance(config, str) or not isinstance(layers or [], list):
        raise InvalidArgument("archive", "manifest.json", "has no Config or Layers")
    texts = [text for text in (layers or []) if isinstance(text, str)]  # type: ignore[union-attr]
    tags = [text for text in names if isinstance(text, str)] if isinstance(names, list) else []
    return _SavedImage(config, tuple(texts), tuple(str(parse_reference(tag)) for tag in tags))


def _name_of(entry: Descriptor) -> str:
    """An index entry's full name: containerd's annotation, or OCI's where it is more than a tag."""
    if name := entry.annotations.get(_NAME_ANNOTATION):
        return str(parse_reference(name))
    name = entry.annotations.get(_REF_ANNOTATION, "")
    if not any(mark in name for mark in ":/@"):
        return ""
    try:
        parsed = parse_name(name)
    except InvalidArgument:
        return ""  # the annotation may be any text; only names are names
    return str(parsed) if parsed.tag or parsed.digest else str(parse_reference(name))
