"""Looking into a container's root file system, and writing to it, from outside."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sharedrt.model.spec import User


class UserResolver(Protocol):
    """Looks up users in a container's own files, inside its root (no escape by symlinks)."""

    async def resolve(self, rootfs: Path, user: User) -> tuple[int, int, tuple[int, ...]]:
        """(uid, gid, additional gids). Raises NotFound for an unknown user or group name."""
        ...


@dataclass(frozen=True, slots=True)
class RootMount:
    """A host path shown at a path of a root file system."""

    source: str
    target: str
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class RootView:
    """A container's file system from outside: its mounted root, and what else is mounted there.

    The mappings are those of its user namespace: archives have the container's ids. ``readonly`` is said of the root,
    not of the mounts.
    """

    rootfs: Path
    mounts: tuple[RootMount, ...] = ()
    readonly: bool = False
    uid_mappings: tuple[tuple[int, int, int], ...] = ()
    gid_mappings: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PathInfo:
    """A path in a container; ``mode`` with the type bits of stat(2). ``link_target`` is where a link leads to in the
    end, as a path inside; empty when it leads nowhere."""

    name: str
    size_bytes: int
    mode: int
    mtime_ns: int
    link_target: str = ""


@dataclass(frozen=True, slots=True)
class ExtractRules:
    """How an archive's entries meet what is there.

    ``owner``: (uid, gid) of all that is written, instead of the archive's. ``keep_types``: no folder in the place of
    something else, nor the other way round. ``root_entry``: whether the archive's own root (``./``) changes owner and
    mode of the folder extracted into. ``parent_owner``: of folders that are made because an entry needs them; ``None``:
    root's. ``clean_names``: ``..`` in a name leads no further than to the root, instead of being refused.
    """

    owner: tuple[int, int] | None = None
    keep_types: bool = False
    root_entry: bool = False
    parent_owner: tuple[int, int] | None = None
    clean_names: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Files of a root that COPY or ADD take.

    ``sources``: paths below the root, with wildcards. ``exclude``: patterns as in ``.dockerignore``, for paths from
    each source. ``parents``: folders on the way are kept, from a ``/./`` on.
    ``probe``: sources that are archives are not taken, but told of. ``keep_owner``: owners are part of the content.
    """

    sources: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    parents: bool = False
    probe: bool = False
    keep_owner: bool = False


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What a selection holds. ``digest`` covers names, modes and content, no times. ``archives``: paths."""

    digest: str
    count: int
    """Sources, of which so many are folders:"""
    folders: int
    archives: tuple[str, ...]
    entries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a selection goes: ``target`` is a path, ``into`` says that it is a folder. ``chmod``: octal or as
    chmod(1) reads it; empty: modes stay."""

    target: str
    into: bool
    owner: tuple[int, int] | None = None
    chmod: str = ""


class RootArchiver(Protocol):
    """Files into and out of root file systems as tar, in worker processes that see that root and nothing else.

    Paths are the container's: links resolve inside. Nothing is left mounted, whatever happens.

    All methods raise:
        NotFound: kind ``path``. InvalidArgument: a path or an archive that makes no sense, or is hostile.
        ResourceExhausted: disk full, or beyond the bounds. PermissionDenied: read-only.
    """

    async def stat(self, view: RootView, path: str) -> PathInfo: ...

    def pack(
        self, view: RootView, path: str
    ) -> AbstractAsyncContextManager[tuple[PathInfo, AsyncIterator[bytes]]]:
        """A file or a folder with all below as a tar whose entries begin with the path's last part."""
        ...

    def export(self, view: RootView) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The whole root as a tar, names without a prefix."""
        ...

    async def extract(
        self, view: RootView, path: str, archive: AsyncIterator[bytes], rules: ExtractRules
    ) -> None:
        """Unpack a tar (plain, gzip, bzip2, xz or zstd) into the folder ``path``."""
        ...

    async def copy(self, rootfs: Path, path: str, target: Path) -> None:
        """A folder's content, with owner and mode of the folder itself, into the host folder ``target``."""
        ...

    async def survey(self, view: RootView, selection: Selection) -> Surveyed:
        """Raises NotFound for a source without wildcards that is not there."""
        ...

    def gather(
        self, view: RootView, selection: Selection, placement: Placement
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The selection as a tar whose names are those of the placement."""
        ...

    async def leave_out(self, folder: Path, patterns: Sequence[str]) -> None:
        """Remove files of a folder by patterns of ``.dockerignore``."""
        ...

    def cat(self, view: RootView, path: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a plain file, links followed inside the root."""
        ...
