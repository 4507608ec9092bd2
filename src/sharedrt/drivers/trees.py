"""Folder trees of any depth, made by anyone: counted, or removed, without following a link or a mount.

Blocking: call on threads. One descriptor at a time moves down and up the tree, so neither PATH_MAX nor
the limit of open files bounds the depth.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeUsage(NamedTuple):
    """Disk blocks in bytes and inodes, the root's own included, hard links counted once."""

    size_bytes: int
    inodes: int
    content_bytes: int = 0
    """What is in the files, without what folders and half-filled blocks take."""


class TreeChanged(Exception):
    """Someone moved folders while we walked."""


def usage(path: str | bytes) -> TreeUsage:
    """What a tree takes on its file system. Files that vanish meanwhile are left out.

    Raises OSError, and TreeChanged when folders were moved about under the walk.
    """
    linked: set[tuple[int, int]] = set()
    size = inodes = content = 0

    def count(info: os.stat_result) -> None:
        nonlocal size, inodes, content
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            key = (info.st_dev, info.st_ino)
            if key in linked:
                return
            linked.add(key)
        size += info.st_blocks * 512
        inodes += 1
        if not stat.S_ISDIR(info.st_mode):
            content += info.st_size

    def visit(folder: int) -> list[str]:
        folders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    info = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                count(info)
                if stat.S_ISDIR(info.st_mode) and info.st_dev == device:
                    folders.append(entry.name)
        return folders

    root = os.open(path, _FOLDER)
    info = os.fstat(root)
    device = info.st_dev
    count(info)
    _walk(root, visit, None)
    return TreeUsage(size, inodes, content)


def remove(path: str | bytes) -> None:
    """Remove a tree; success when it is not there. What is mounted below it stays, and is an error.

    Raises OSError (EBUSY: a mount).
    """
    try:
        root = os.open(path, _FOLDER)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(path)
        return

    def visit(folder: int) -> list[str]:
        folders = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    _unlink(entry.name, folder)
        return folders

    _walk(root, visit, _rmdir)
    os.rmdir(path)


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _rmdir(name: str, folder: int) -> None:
    try:
        os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _walk(
    current: int,
    visit: Callable[[int], list[str]],
    leave: Callable[[str, int], None] | None,
) -> None:
    """Visit each folder, parents first; ``visit`` names the folders to go down to.

    Takes over the descriptor. ``leave`` gets a folder's name and its parent after all below it.
    """
    device = os.fstat(current).st_dev
    pending = [visit(current)]
    trail: list[tuple[str, tuple[int, int]]] = []
    try:
        while True:
            if pending[-1]:
                name = pending[-1].pop()
                try:
                    child = os.open(name, _FOLDER, dir_fd=current)
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        raise
                    continue
                info = os.fstat(current)
                if os.fstat(child).st_dev != device:
                    os.close(child)
                    if leave is not None:
                        leave(name, current)  # EBUSY
                    continue
                trail.append((name, (info.st_dev, info.st_ino)))
                os.close(current)
                current = child
                pending.append(visit(current))
                continue
            pending.pop()
            if not trail:
                return
            name, parent_id = trail.pop()
            parent = os.open("..", _FOLDER, dir_fd=current)
            os.close(current)
            current = parent
            info = os.fstat(current)
            if (info.st_dev, info.st_ino) != parent_id:
                raise TreeChanged(name)
            if leave is not None:
                leave(name, current)
    finally:
        os.close(current)
