"""Root file systems out of layers."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Usage:
    size_bytes: int
    """Disk blocks."""
    inodes: int
    content_bytes: int = 0
    """What is in the files, as Docker counts."""


class ChangeKind(IntEnum):
    """What has become of a path; the numbers are the Engine API's."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


class PathChange(NamedTuple):
    """A path, absolute in the container, that differs from the image."""

    path: str
    kind: ChangeKind


class Snapshotter(Protocol):
    """overlayfs folders on disk. Rows are the store's; folders are named by the caller's ``directory``.

    A committed layer's folder is ``layers/<directory>/fs``; an active one's are
    ``active/<directory>/{fs,work,rootfs}``. ``rootfs`` is the mount point.
    """

    def layer_path(self, directory: str) -> Path:
        """Where a committed layer's files are (exists only once committed)."""
        ...

    def prepare_layer(
        self, directory: str
    ) -> AbstractAsyncContextManager[tuple[Path, Callable[[], Awaitable[None]]]]:
        """A fresh folder to unpack into, and the function that commits it: syncs and renames it into
        place. Leaving without committing removes it. Two at once of one name: the second waits, and
        finds it committed (check :meth:`has_layer` inside)."""
        ...

    async def has_layer(self, directory: str) -> bool: ...

    async def mount(
        self,
        directory: str,
        layers: Sequence[str],
        *,
        readonly: bool = False,
        uid_mappings: Sequence[tuple[int, int, int]] = (),
        gid_mappings: Sequence[tuple[int, int, int]] = (),
        selinux_label: str = "",
    ) -> Path:
        """Mount an active snapshot over ``layers`` (topmost first); the root file system's path. Idempotent.

        With mappings the lower layers are idmapped.
        """
        ...

    async def bind_idmapped(
        self,
        binds: Sequence[tuple[Path, Path]],
        uid_mappings: Sequence[tuple[int, int, int]],
        gid_mappings: Sequence[tuple[int, int, int]],
    ) -> None:
        """Bind files or folders (source, target) with the owners mapped as a user namespace has them. Targets
        are made; plain unmounting undoes it, and what is mounted below a source does not come along.

        Raises:
            FailedPrecondition: the file system of a source has no idmapped mounts. NotFound: a source.
        """
        ...

    async def unmount(self, directory: str) -> None:
        """Idempotent; keeps the upper folder."""
        ...

    async def remove_active(self, directory: str) -> None:
        """Unmount and remove. Idempotent."""
        ...

    async def remove_layer(self, directory: str) -> None: ...

    def upper_path(self, directory: str) -> Path: ...

    async def usage(self, directory: str) -> Usage:
        """What the writable layer of an active snapshot takes (walked on a thread)."""
        ...

    async def changes(
        self,
        directory: str,
        layers: Sequence[str],
        ignored: frozenset[str],
        only: frozenset[str] | None = None,
    ) -> Sequence[PathChange]:
        """How an active snapshot differs from ``layers`` (topmost first), by path.

        Args:
            ignored: paths without a leading slash that are no change as long as they are empty.
            only: look at these paths alone, each one's folder being another of them.
        """
        ...

    async def layers_on_disk(self) -> Sequence[str]: ...

    async def actives_on_disk(self) -> Sequence[str]: ...
