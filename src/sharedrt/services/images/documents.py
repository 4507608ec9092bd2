"""An image's documents, from blobs that are in the content store: index, manifest, configuration."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, ParamSpec, TypeAlias, TypeVar

from sharedrt.aio.completion import run_blocking
from sharedrt.model.drivers import ContentStore
from sharedrt.model.faults import DataLoss, InvalidArgument, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor
from sharedrt.services.images.image import Image
from sharedrt.wire.oci_image import ImageConfig, Index, Manifest, parse_config, parse_target
from sharedrt.wire.platforms import Platform, fits, select

MAX_CONFIG_BYTES: Final = 8 << 20
MAX_MANIFEST_BYTES: Final = 4 << 20

_BIG_BYTES: Final = 128 << 10

P = ParamSpec("P")
T = TypeVar("T")
Reader: TypeAlias = Callable[[Digest, int], Awaitable[bytes]]
"""(digest, limit in bytes) to the blob. Raises NotFound (kind ``content``), ResourceExhausted."""


@dataclass(frozen=True, slots=True)
class Documents:
    """An image for one platform: where its target leads to."""

    target: Descriptor
    manifest: Descriptor
    layers: tuple[Descriptor, ...]
    config_blob: Descriptor
    config: ImageConfig

    @property
    def blobs(self) -> list[Descriptor]:
        """All that make the image up, the target first; each once."""
        found: dict[Digest, Descriptor] = {}
        for blob in (self.target, self.manifest, self.config_blob, *self.layers):
            found.setdefault(blob.digest, blob)
        return list(found.values())

    def image(self, unpacked_size_bytes: int) -> Image:
        """The image without references."""
        sizes = {blob.digest: blob.size for blob in (self.config_blob, *self.layers)}
        return Image(
            id=self.config_blob.digest,
            target=self.target,
            manifest=self.manifest.digest,
            references=(),
            config=self.config,
            layers=self.config.chain_ids()[::-1],
            layer_blobs=self.layers,
            manifest_media_type=self.manifest.media_type,
            manifest_size_bytes=self.manifest.size,
            content_size_bytes=self.manifest.size + sum(sizes.values()),
            unpacked_size_bytes=unpacked_size_bytes,
        )


def choose_manifest(index: Index, platform: Platform, name: str) -> Descriptor:
    """The index's entry for the platform.

    Raises:
        NotFound: kind ``platform``, in Docker's words.
    """
    chosen = select(index.manifests, platform)
    if chosen is None:
        raise no_platform(platform, name)
    return chosen


def no_platform(platform: Platform, name: str) -> NotFound:
    return NotFound(
        "platform", f"no matching manifest for {platform} in the manifest list entries of {name}"
    )


def check_config(
    manifest: Manifest, config: ImageConfig, platform: Platform | None, name: str
) -> None:
    """Raises NotFound (kind ``platform``) for another platform's image, DataLoss for one whose layers and
    diff ids do not belong together."""
    if platform is not None and not fits(config.platform, platform):
        raise NotFound("platform", f"{name} is for {config.platform}, not for {platform}")
    if len(config.diff_ids) != len(manifest.layers):
        raise DataLoss(
            f"image {name}",
            f"has {len(manifest.layers)} layers, and {len(config.diff_ids)} diff ids",
        )


async def read_documents(
    read: Reader, target: Descriptor, platform: Platform | None, name: str, *, strict: bool = True
) -> Documents:
    """Follow a target through the content store.

    Args:
        read: reads a blob whole, up to a limit of bytes.
        platform: chooses from an index; ``None`` where the target is a manifest.
        strict: whether a manifest that is for another platform is refused.

    Raises:
        NotFound: kind ``content``, when a document is missing; kind ``platform``.
        InvalidArgument, DataLoss, Unimplemented: malformed.
    """
    target, document = await _read_target(read, target)
    manifest = target
    if isinstance(document, Index):
        if platform is None:
            raise InvalidArgument("manifest", target.digest, "is an index")
        manifest, document = await _read_target(read, choose_manifest(document, platform, name))
        if isinstance(document, Index):
            raise InvalidArgument("index", target.digest, "an index inside an index")
    config = await parsed(parse_config, await read(document.config.digest, MAX_CONFIG_BYTES))
    check_config(document, config, platform if strict else None, name)
    return Documents(target, manifest, document.layers, document.config, config)


async def _read_target(read: Reader, descriptor: Descriptor) -> tuple[Descriptor, Manifest | Index]:
    """The document, and the descriptor with what that tells: the media type, and the size where it was 0."""
    data = await read(descriptor.digest, MAX_MANIFEST_BYTES)
    document = await parsed(parse_target, data, descriptor.media_type)
    if descriptor.size not in (0, len(data)):
        raise DataLoss(f"manifest {descriptor.digest}", f"has not {descriptor.size} bytes")
    return replace(descriptor, media_type=document.media_type, size=len(data)), document


async def parsed(parse: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
    """Call a parser; on a thread when its first argument is big, since that may be made to take long."""
    data = arguments[0]
    if isinstance(data, bytes) and len(data) > _BIG_BYTES:
        return await run_blocking(None, parse, *arguments, **more)
    return parse(*arguments, **more)


def reader_of(content: ContentStore) -> Reader:
    """Reads for whoever has the right to all that it asks for."""

    async def read(digest: Digest, limit: int) -> bytes:
        return await content.read(digest, limit=limit)

    return read
