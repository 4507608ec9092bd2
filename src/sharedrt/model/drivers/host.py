"""Folders and files of the host."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from sharedrt.model.drivers.snapshots import Usage


class VolumeFolders(Protocol):
    """Folders of local volumes, and what is mounted on them. ``folder`` is a volume's own; containers see its data
    folder inside. Runs on threads; every call is idempotent."""

    def data(self, folder: Path) -> Path:
        """What containers see."""
        ...

    async def make(self, folder: Path) -> None:
        """Make it, below a folder that only root may enter."""
        ...

    async def mount(self, folder: Path, options: Mapping[str, str]) -> None:
        """Make it, and mount what ``options`` (``type``, ``device``, ``o``) name on its data folder.

        Raises:
            FailedPrecondition: with mount(8)'s words.
        """
        ...

    async def unmount(self, folder: Path) -> None: ...

    async def remove(self, folder: Path) -> None:
        """Unmount, and remove it with its data. Never crosses a mount."""
        ...

    async def names(self, root: Path) -> Sequence[str]:
        """What is in the folder of all volumes; nothing when it is missing."""
        ...

    async def usage(self, folder: Path) -> Usage: ...

    async def wants_copy(self, folder: Path, rootfs: Path, target: str, sub_path: str = "") -> bool:
        """Whether the volume, or its folder at ``sub_path``, is empty and ``target`` in ``rootfs`` is a folder that
        is not. Of an empty folder owner and mode are taken over at once. Ends a copy that was cut short after
        :meth:`finish_copy` began."""
        ...

    async def staging(self, folder: Path) -> Path:
        """A fresh folder to copy into; what an earlier life left there is removed."""
        ...

    async def finish_copy(self, folder: Path, sub_path: str = "") -> None:
        """Make what was staged the content of the volume, or of its folder at ``sub_path``, whole even across a
        crash."""
        ...


class CheckpointArchives(Protocol):
    """Tars that hold a container's checkpoint.

    All methods raise:
        NotFound: kind ``path``. InvalidArgument: no such archive, or a hostile one. ResourceExhausted: the disk.
    """

    async def write(self, folder: Path, target: Path) -> None:
        """Pack a folder's files. ``target`` is replaced when all is on disk, and is root's alone."""
        ...

    def file(self, path: Path) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]:
        """A new file of a folder that shall be packed, as what takes its bytes."""
        ...

    async def documents(self, archive: Path, names: Collection[str]) -> Mapping[str, bytes]:
        """Small files of an archive, all of which must be there."""
        ...

    async def extract(
        self, archive: Path, folder: Path, files: Collection[str], folders: Collection[str]
    ) -> None:
        """Unpack the named files, and those that lie right in one of ``folders``; others are passed over."""
        ...


class HostFiles(Protocol):
    """Small files, folders and plain mounts of ours. Runs on threads; every call is idempotent."""

    async def write(self, folder: Path, files: Mapping[str, bytes], *, mode: int = 0o644) -> None:
        """Make the folder (0711) and write each file atomically."""
        ...

    async def read(self, path: Path, *, limit_bytes: int | None = None) -> bytes:
        """A small file's content; empty when there is none.

        Raises:
            ResourceExhausted: longer than ``limit_bytes``, which belongs to all files that a container may write to.
        """
        ...

    async def make_folder(
        self, path: Path, *, mode: int = 0o755, owner: tuple[int, int] | None = None
    ) -> None:
        """With its parents. ``owner``: (uid, gid) of the folder itself, where it is to be another's."""
        ...

    async def remove_tree(self, path: Path) -> None:
        """Unmount what is mounted below, then remove. Never follows a link, never crosses a mount."""
        ...

    async def names(self, folder: Path) -> Sequence[str]:
        """What is in a folder; nothing when it is missing."""
        ...

    async def mount_tmpfs(self, path: Path, *, size_bytes: int, mode: int = 0o1777) -> None: ...

    async def bind(self, source: Path, target: Path, *, readonly: bool = False) -> None:
        """Bind a file or folder on ``target``, which is made when missing."""
        ...

    async def bind_in_root(
        self, root: Path, path: str, target: Path, *, beneath: bool = False
    ) -> None:
        """Bind what ``path`` names inside the folder ``root``, links resolved there, on ``target``, which is made.

        Args:
            beneath: a link that leads out of the folder is refused, instead of leading inside as if that were ``/``.

        Raises:
            NotFound: kind ``path``. InvalidArgument: kind ``path``, for such a link.
        """
        ...

    async def unmount(self, path: Path) -> None: ...

    async def relabel(self, path: Path, label: str, *, shared: bool) -> None:
        """Give it and all below it an SELinux label, ``shared`` with containers of any level.

        Raises:
            InvalidArgument: a folder that the host itself needs under its own label.
        """
        ...

    async def exists(self, path: Path) -> bool: ...

    async def is_socket(self, path: Path) -> bool:
        """Whether the path itself, no link, is a socket."""
        ...

    async def rename(self, source: Path, target: Path) -> None: ...
