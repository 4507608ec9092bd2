"""Which files of a root COPY and ADD take, and by what names. For the worker's side only: the root is a chroot, so
links resolve inside.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sharedrt.drivers import trees
from sharedrt.model.faults import InvalidArgument, NotFound, ResourceExhausted
from sharedrt.wire.dockerignore import IgnoreRules, compile_pattern

_WILD: Final = frozenset("*?[\\")
_MAX_SOURCES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Source:
    """One match. ``path``: where it really is, absolute; ``shown``: relative, as it was asked for."""

    path: str
    shown: str
    folder: bool

    @property
    def name(self) -> str:
        return self.shown.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Found:
    """A file or folder to copy. ``name``: relative to its source (empty: the source, a file, itself)."""

    path: str
    name: str
    info: os.stat_result


def find_sources(patterns: Sequence[str], *, parents: bool) -> list[Source]:
    """All matches of all patterns, those of one pattern in order.

    Args:
        parents: ``/./`` in a pattern says from where on its folders are kept, and links are not followed.

    Raises:
        NotFound: kind ``path``: a pattern without wildcards names nothing. InvalidArgument: a malformed pattern.
    """
    found: list[Source] = []
    for pattern in patterns:
        pivot, shown_pattern = _pivot(pattern) if parents else ("", pattern)
        parts = [part for part in f"{pivot}/{shown_pattern}".split("/") if part not in ("", ".")]
        if ".." in parts:
            raise InvalidArgument("path", pattern, "forbidden path outside the build context")
        cut = len([part for part in pivot.split("/") if part not in ("", ".")])
        if any(_WILD & set(part) for part in parts):
            found.extend(_source(match, cut) for match in _expand(parts))
        else:
            found.append(_source(parts, cut, pattern))
        if len(found) > _MAX_SOURCES:
            raise ResourceExhausted("sources", f"{pattern!r} and others match over {_MAX_SOURCES}")
    return found


def walk(source: Source, exclude: IgnoreRules) -> Iterator[Found]:
    """What a source brings along, folders before what they hold; not the source itself when it is a folder."""
    if not source.folder:
        if not exclude.ignores(source.name):
            yield Found(source.path, "", os.lstat(source.path))
        return
    pending = [_children(source.path, "")]
    while pending:
        if not pending[-1]:
            pending.pop()
            continue
        path, name = pending[-1].pop()
        info = os.lstat(path)
        is_folder = stat.S_ISDIR(info.st_mode)
        if not exclude.ignores(name):
            yield Found(path, name, info)
        elif not is_folder or not exclude.has_exceptions:
            continue
        if is_folder:
            pending.append(_children(path, name))


def leave_out(ignore: IgnoreRules) -> None:
    """Remove what the rules say of the root's files. A folder stays for the sake of what is kept in it."""
    pending = [_children("/", "")]
    emptied: list[str] = []
    while pending:
        if not pending[-1]:
            pending.pop()
            continue
        path, name = pending[-1].pop()
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
        if not ignore.ignores(name):
            if is_folder:
                pending.append(_children(path, name))
        elif is_folder and ignore.has_exceptions:
            emptied.append(path)
            pending.append(_children(path, name))
        else:
            trees.remove(os.fsencode(path))
    for path in reversed(emptied):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _pivot(pattern: str) -> tuple[str, str]:
    head, separator, tail = pattern.partition("/./")
    return (head, tail) if separator else ("", pattern)


def _source(parts: Sequence[str], cut: int, pattern: str = "") -> Source:
    shown = "/".join(parts[cut:])
    try:
        real = os.path.realpath("/" + "/".join(parts), strict=True)
        info = os.lstat(real)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("path", pattern or shown) from error
    except OSError as error:
        raise InvalidArgument("path", pattern or shown, error.strerror or str(error)) from error
    return Source(real, shown, stat.S_ISDIR(info.st_mode))


def _expand(parts: Sequence[str]) -> Iterator[list[str]]:
    """Names that fit a pattern's parts, in order; ``**`` stands for any number of folders."""
    matches: list[list[str]] = [[]]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        following: list[list[str]] = []
        for match in matches:
            if part == "**":
                following += [[*match, *below] for below in _all_folders("/" + "/".join(match))]
                continue
            if not _WILD & set(part):
                candidate = [*match, part]
                if os.path.lexists("/" + "/".join(candidate)):
                    following.append(candidate)
                continue
            expression = compile_pattern(part)
            names = [n for n in _names("/" + "/".join(match)) if expression.fullmatch(n)]
            # A link to a folder that a wildcard has found is a link, and no way into the folder.
            found = ([*match, name] for name in names)
            following += [path for path in found if last or _is_folder("/" + "/".join(path))]
        if len(following) > _MAX_SOURCES:
            raise ResourceExhausted("sources", f"{'/'.join(parts)!r} matches over {_MAX_SOURCES}")
        matches = following
        if last and part == "**":
            matches = [m for m in matches if m]
    yield from matches


def _all_folders(top: str) -> list[list[str]]:
    """Relative paths of the folder itself and of all folders below."""
    found: list[list[str]] = [[]]
    for root, folders, _ in os.walk(top):
        folders.sort()
        base = [part for part in os.path.relpath(root, top).split("/") if part != "."]
        found += [[*base, name] for name in folders]
        if len(found) > _MAX_SOURCES:
            raise ResourceExhausted("sources", f"over {_MAX_SOURCES} folders below {top!r}")
    return found


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(path: str) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)


def _children(path: str, name: str) -> list[tuple[str, str]]:
    """(path, name) of what is in a folder, the first in order at the list's end."""
    prefix, below = path.rstrip("/") + "/", f"{name}/" if name else ""
    names = sorted(os.listdir(path), reverse=True)
    return [(prefix + child, below + child) for child in names]
