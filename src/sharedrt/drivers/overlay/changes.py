"""What an upper folder says of the layers below it: added, modified, removed. Blocking: call on threads.

The container may run, and change its folders, while we look: nothing is ever reached through a link.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from sharedrt.drivers import inroot
from sharedrt.model.drivers import ChangeKind, PathChange

_GONE: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def upper_changes(
    upper: Path,
    lowers: Sequence[Path],
    ignored: frozenset[str],
    only: frozenset[str] | None = None,
) -> list[PathChange]:
    """Changes by path, folders before what is in them.

    Args:
        lowers: the layers, topmost first.
        ignored: paths without a leading slash that are no change as long as they are empty, and whose making does not
            count as a change of their folder.
        only: look at these paths alone, each one's folder being another of them.

    Raises OSError.
    """
    with ExitStack() as stack:
        folders = []
        for path in (upper, *lowers):
            folders.append(inroot.open_folder(path))
            stack.callback(os.close, folders[-1])
        found = list(_Walk(folders[0], folders[1:], ignored, only).folder("", folders[1:]))
    return sorted(found, key=lambda change: change.path)


class _Walk:
    def __init__(
        self,
        upper: int,
        lowers: Sequence[int],
        ignored: frozenset[str],
        only: frozenset[str] | None,
    ) -> None:
        self._upper, self._lowers, self._ignored = upper, lowers, ignored
        self._only = only

    def folder(self, path: str, visible: Sequence[int]) -> Iterator[PathChange]:
        """Changes below a folder. ``visible``: layers whose own such folder shows through."""
        for name in self._names(path):
            below = f"{path}/{name}" if path else name
            if self._only is not None and below not in self._only:
                continue
            info = _look(self._upper, below)
            if info is None:
                continue
            old = self._lower(below, visible)
            if _is_whiteout(info):
                if old is not None:
                    yield PathChange(f"/{below}", ChangeKind.DELETED)
                continue
            if below in self._ignored and self._is_empty(below, info):
                continue
            kind = ChangeKind.ADDED if old is None else ChangeKind.MODIFIED
            if not stat.S_ISDIR(info.st_mode):
                yield PathChange(f"/{below}", kind)
                continue
            inside = list(self.folder(below, self._showing(below, visible)))
            if old is None and not inside and self._names(below):
                continue  # made for mount points alone
            if old is None or inside or self._differs(below, info, old):
                yield PathChange(f"/{below}", kind)
            yield from inside

    def _names(self, path: str) -> list[str]:
        try:
            folder = inroot.open_beneath(self._upper, path or ".", _FOLDER)
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise
        try:
            return sorted(os.listdir(folder))
        finally:
            os.close(folder)

    def _is_empty(self, path: str, info: os.stat_result) -> bool:
        if stat.S_ISDIR(info.st_mode):
            return all(f"{path}/{name}" in self._ignored for name in self._names(path))
        return not info.st_size

    def _differs(self, path: str, new: os.stat_result, old: os.stat_result) -> bool:
        """Whether a folder that both have has changed by itself."""
        if (new.st_mode, new.st_uid, new.st_gid) != (old.st_mode, old.st_uid, old.st_gid):
            return True
        made_here = any(f"{path}/{name}" in self._ignored for name in self._names(path))
        return new.st_mtime_ns != old.st_mtime_ns and not made_here

    def _lower(self, path: str, visible: Sequence[int]) -> os.stat_result | None:
        for layer in visible:
            if (info := _look(layer, path)) is not None:
                return None if _is_whiteout(info) else info
        return None

    def _showing(self, path: str, visible: Sequence[int]) -> list[int]:
        if _is_opaque(self._upper, path):
            return []
        shown = []
        for layer in visible:
            if (info := _look(layer, path)) is None:
                continue
            if not stat.S_ISDIR(info.st_mode):
                break
            shown.append(layer)
            if _is_opaque(layer, path):
                break
        return shown


def _look(folder: int, path: str) -> os.stat_result | None:
    try:
        found = inroot.open_beneath(folder, path)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    try:
        return os.fstat(found)
    finally:
        os.close(found)


def _is_whiteout(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _is_opaque(folder: int, path: str) -> bool:
    try:
        found = inroot.open_beneath(folder, path, _FOLDER)
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise
    try:
        return os.getxattr(found, "trusted.overlay.opaque") == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
    finally:
        os.close(found)
