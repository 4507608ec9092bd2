"""One overlay mount out of folders. Blocking: call on threads."""

import contextlib
import errno
import functools
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sharedrt.drivers import libc, mountapi

MAX_LAYERS: Final = 500
"""Of overlayfs itself."""

_OPTIONS: Final = (("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow"))
"""So that an upper folder alone says what changed, and no attribute of an image redirects anything."""
_MAX_DATA: Final = 4095
"""Of mount(2): a page, with its NUL."""
_MAX_VALUE: Final = 255
"""Of fsconfig(2)."""
_OPAQUE: Final = "trusted.overlay.opaque"


def visible_lowers(lowers: Sequence[Path]) -> list[str]:
    """The layers down to one whose root is opaque: overlayfs heeds the mark in folders below the root only.

    Raises FileNotFoundError.
    """
    seen = []
    for path in map(str, lowers):
        seen.append(path)
        try:
            if os.getxattr(path, _OPAQUE) == b"y":
                break
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    return seen


def mount_overlay(
    target: str, lowers: Sequence[str], upper: str, work: str, *, readonly: bool, context: str
) -> None:
    """Mount ``lowers`` (topmost first) under ``upper``; read-only, the upper is the topmost lower.

    Raises OSError.
    """
    if readonly:
        lowers, upper, work = (upper, *lowers), "", ""
    how = _mount_by_descriptor if takes_layer_by_layer() else mount_by_string
    how(target, lowers, upper, work, readonly=readonly, context=context)


@functools.cache
def takes_layer_by_layer() -> bool:
    """Whether the kernel takes lower layers one by one, as it does since 6.8. Raises OSError: no overlayfs.

    Before 6.5 overlayfs takes any option at all here, and refuses what it does not know only in the end.
    """
    with mountapi.FileSystem("overlay") as system:
        try:
            system.option("sharedrt_unknown", "1")
        except OSError:
            pass
        else:
            return False
        try:
            system.option("lowerdir+", "/")
        except OSError as error:
            return "Unknown" not in str(error)
    return True


def _mount_by_descriptor(
    target: str, lowers: Sequence[str], upper: str, work: str, *, readonly: bool, context: str
) -> None:
    with contextlib.ExitStack() as stack:
        system = stack.enter_context(mountapi.FileSystem("overlay"))
        for key, value in _OPTIONS:
            system.option(key, value)
        for lower in lowers:
            system.option("lowerdir+", _short(stack, lower))
        if upper:
            system.option("upperdir", _short(stack, upper))
            system.option("workdir", _short(stack, work))
        if context:
            system.option("context", context)
        system.option("source", "overlay")
        system.mount(target, readonly=readonly)


def mount_by_string(
    target: str, lowers: Sequence[str], upper: str, work: str, *, readonly: bool, context: str
) -> None:
    """The same by mount(2), whose options are one string of a page. Raises OSError."""
    flags = libc.MS_RDONLY if readonly else 0

    def data(folders: Sequence[str]) -> str:
        options = [f"{key}={value}" for key, value in _OPTIONS]
        options.append("lowerdir=" + ":".join(folders))
        if upper:
            options += [f"upperdir={_escape(upper)}", f"workdir={_escape(work)}"]
        if context:
            options.append(f'context="{context}"')
        return ",".join(options)

    whole = data([_escape(lower) for lower in lowers])
    with contextlib.ExitStack() as stack:
        if len(os.fsencode(whole)) > _MAX_DATA:
            whole = data([_by_descriptor(stack, lower) for lower in lowers])
        libc.mount("overlay", target, "overlay", flags, whole)


def _short(stack: contextlib.ExitStack, path: str) -> str:
    return path if len(os.fsencode(path)) <= _MAX_VALUE else _by_descriptor(stack, path)


def _by_descriptor(stack: contextlib.ExitStack, path: str) -> str:
    """A short name of a folder, good while the stack is open."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}"


def _escape(path: str) -> str:
    for special in "\\:,":
        path = path.replace(special, "\\" + special)
    return path


@contextlib.contextmanager
def idmapped(lowers: Sequence[str], user_namespace: int, scratch: Path) -> Iterator[list[str]]:
    """Private idmapped copies of the layers' mounts, at ``scratch``, which are gone after the block.

    overlayfs keeps copies of its own, with the mapping. Raises OSError.
    """
    folder = scratch / f"idmap-{secrets.token_hex(8)}"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(folder.rmdir)
        points = []
        for number, lower in enumerate(lowers):
            point = folder / str(number)
            point.mkdir()
            stack.callback(point.rmdir)
            mount = mountapi.clone_tree(lower)
            try:
                mountapi.idmap(mount, user_namespace)
                mountapi.attach(mount, str(point))
            finally:
                os.close(mount)
            stack.callback(libc.umount, str(point), libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
            points.append(str(point))
        yield points
