"""What the image service answers with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.records import Descriptor
from sharedrt.wire.oci_image import ImageConfig


@dataclass(frozen=True, slots=True)
class Image:
    """An image of one namespace, unpacked and ready to run. Several references may name it."""

    id: Digest
    """Digest of its configuration."""
    target: Descriptor
    """What the reference that it was found by stands for: an index or the manifest."""
    manifest: Digest
    references: tuple[str, ...]
    """Full, sorted. Empty for an image that only its id names (Docker's ``<none>``)."""
    config: ImageConfig
    layers: tuple[SnapshotKey, ...]
    """The chain ids of its layers, topmost first."""
    content_size_bytes: int
    """Manifest, configuration and layers as a registry keeps them, compressed."""
    unpacked_size_bytes: int
    layer_blobs: tuple[Descriptor, ...] = ()
    """As the manifest lists them, base layer first."""
    manifest_media_type: str = ""
    manifest_size_bytes: int = 0
    pinned: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ns: int = 0
    """When this namespace first had it."""
    updated_ns: int = 0

    @property
    def manifest_descriptor(self) -> Descriptor:
        """What an index says of the manifest."""
        return Descriptor(
            self.manifest_media_type,
            self.manifest,
            self.manifest_size_bytes,
            platform=self.config.platform,
        )

    @property
    def repo_tags(self) -> tuple[str, ...]:
        """``docker.io/library/busybox:latest`` ..."""
        return tuple(name for name in self.references if "@" not in name)

    @property
    def repo_digests(self) -> tuple[str, ...]:
        """``docker.io/library/busybox@sha256:...`` ..., of what was pulled or pushed."""
        return tuple(name for name in self.references if "@" in name)


class PullPhase(StrEnum):
    """Where a layer is (or, for RESOLVING, DIGEST and STATUS, the image)."""

    RESOLVING = "resolving"
    PULLING_FS_LAYER = "pulling fs layer"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    DOWNLOAD_COMPLETE = "download complete"
    EXTRACTING = "extracting"
    PULL_COMPLETE = "pull complete"
    ALREADY_EXISTS = "already exists"
    DIGEST = "digest"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One step of a pull. ``id``: a layer's digest; the full reference for the image's own steps.

    For DOWNLOADING and EXTRACTING ``current`` of ``total`` compressed bytes are done. ``text`` is the target's
    digest for DIGEST; for STATUS ``up to date`` or ``downloaded``.
    """

    id: str
    phase: PullPhase
    current: int = 0
    total: int = 0
    text: str = ""


class PushPhase(StrEnum):
    PREPARING = "preparing"
    PUSHING = "pushing"
    PUSHED = "pushed"
    ALREADY_EXISTS = "already exists"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class PushProgress:
    """One step of a push. For DIGEST ``text`` is the manifest's digest and ``total`` its size in bytes."""

    id: str
    phase: PushPhase
    current: int = 0
    total: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class RemovedImage:
    """One line of a removal: either a reference (full) or a digest is set."""

    untagged: str = ""
    deleted: str = ""


PullListener: TypeAlias = Callable[[PullProgress], None]
PushListener: TypeAlias = Callable[[PushProgress], None]
