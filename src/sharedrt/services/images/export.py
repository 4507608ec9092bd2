"""Saving images: an archive that is at once an OCI layout and one that ``docker load`` of any age takes."""

import json
import tarfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor, Json
from sharedrt.services.images.documents import Documents, read_documents, reader_of
from sharedrt.services.images.host import ImageHost
from sharedrt.services.images.image import Image
from sharedrt.wire import media_types
from sharedrt.wire.docker_time import parse_timestamp
from sharedrt.wire.oci_image import descriptor_json
from sharedrt.wire.reference import parse_name

_END: Final = bytes(2 * 512)


@dataclass(slots=True)
class _Saved:
    documents: Documents
    tags: list[str] = field(default_factory=list)
    """Full references."""


async def export(host: ImageHost, images: Sequence[tuple[Image, str]]) -> AsyncIterator[bytes]:
    """The archive's bytes. ``images``: each with the reference by which it was asked for, or none."""
    async with host.hold() as hold:
        saved: dict[Digest, _Saved] = {}
        for image, reference in images:
            await hold.image(image)
            if image.manifest not in saved:
                # Only this platform's manifest is complete here, so an index is not saved.
                target = Descriptor("", image.manifest, 0, platform=image.config.platform)
                documents = await read_documents(reader_of(host.content), target, None, reference)
                saved[image.manifest] = _Saved(documents)
            tags = saved[image.manifest].tags
            if reference and "@" not in reference and reference not in tags:
                tags.append(reference)
        yield _file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        yield _file("index.json", _dump(_index(list(saved.values()))))
        yield _file("manifest.json", _dump(_manifest_json(list(saved.values()))))
        done: set[Digest] = set()
        for entry in saved.values():
            for blob in entry.documents.blobs:
                if blob.digest in done:
                    continue
                done.add(blob.digest)
                yield _header(_path(blob.digest), blob.size, _created_s(entry.documents))
                async for data in host.content.stream(blob.digest):
                    yield data
                yield bytes(-blob.size % 512)
        yield _END


def _index(saved: Sequence[_Saved]) -> Json:
    manifests: list[Json] = []
    for entry in saved:
        target = entry.documents.target
        if not entry.tags:
            manifests.append(descriptor_json(target))
        for tag in entry.tags:
            annotations = {
                "io.containerd.image.name": tag,
                "org.opencontainers.image.ref.name": parse_name(tag).tag,
            }
            manifests.append(descriptor_json(replace(target, annotations=annotations)))
    return {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": manifests}


def _manifest_json(saved: Sequence[_Saved]) -> Json:
    entries: list[Json] = []
    for entry in saved:
        tags: list[Json] = [parse_name(tag).familiar for tag in entry.tags]
        layers: list[Json] = [_path(layer.digest) for layer in entry.documents.layers]
        config = _path(entry.documents.config_blob.digest)
        entries.append({"Config": config, "RepoTags": tags or None, "Layers": layers})
    return entries


def _path(digest: Digest) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"blobs/{algorithm}/{encoded}"


def _dump(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _file(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + bytes(-len(data) % 512)


def _created_s(documents: Documents) -> int:
    """When the image was made, in seconds; what it says is not always a time, nor one that a tar can hold."""
    try:
        seconds = parse_timestamp(documents.config.created, now_ns=0) // 1_000_000_000
    except ValueError:
        return 0
    return seconds if 0 <= seconds < 1 << 33 else 0


def _header(name: str, size: int, mtime_s: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, mtime_s
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT)
