"""Layers made into folders, and folders into layers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sharedrt.model.ids import Digest


@dataclass(frozen=True, slots=True)
class LayerResult:
    """An applied layer: digest of the uncompressed tar, and what it takes on disk."""

    diff_id: Digest
    size_bytes: int
    inodes: int


class LayerUnpacker(Protocol):
    """Unpacks layer tars in chrooted worker processes, in parallel."""

    async def apply(
        self,
        blob: Path,
        media_type: str,
        target: Path,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> LayerResult:
        """Unpack ``blob`` (tar, tar+gzip, tar+zstd) into the folder ``target``, overlayfs style
        (whiteouts as 0:0 character devices, opaque folders by ``trusted.overlay.opaque``).

        Args:
            progress: called now and then with the compressed bytes consumed so far.

        Raises:
            DataLoss: truncated or corrupt. InvalidArgument: a hostile path or entry; nothing outside
            ``target`` was touched. ResourceExhausted: disk full or beyond the configured bounds.
        """
        ...

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
        """The tar of an overlayfs upper folder as a layer (whiteouts in OCI form), to ``sink``.

        With the mappings of its mount, owners become those of the image again. ``exclude``: paths without a leading
        slash that are left out when they are empty, but for others of them (mount points that a runtime has made).
        ``newest_ns``: later times become this one.
        """
        ...
