"""A container's files as tar, for ``docker cp`` and ``export``: the root is a chroot, so links resolve inside.

The container may run meanwhile: what vanishes is left out, what shrinks is filled up.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from sharedrt.drivers.unpack.scan import (
    IdMap,
    Links,
    attributes_of,
    copy_file,
    entry_of,
    names_in,
    open_file,
)
from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header
from sharedrt.wire.tar.entry import Kind


def resolve(path: str) -> tuple[str, os.stat_result, str]:
    """Where a path leads to, its last part not followed unless a slash or ``/.`` comes after it.

    Returns:
        The path with the links before its last part resolved, what is there, and (of a link) where that leads.

    Raises:
        NotFound: kind ``path``. InvalidArgument: a folder was asked for, and is none.
    """
    cleaned = os.path.normpath("/" + path.lstrip("/"))
    wants_folder = cleaned != "/" and path.endswith(("/", "/."))
    folder, name = os.path.split(cleaned)
    try:
        resolved = os.path.join(os.path.realpath(folder, strict=True), name)
        if wants_folder:
            resolved = os.path.realpath(resolved, strict=True)
        info = os.lstat(resolved)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("path", path) from error
    except OSError as error:
        raise InvalidArgument("path", path, error.strerror or str(error)) from error
    if wants_folder and not stat.S_ISDIR(info.st_mode):
        raise InvalidArgument("path", path, "is not a directory")
    target = ""
    if stat.S_ISLNK(info.st_mode):
        target = os.path.realpath(resolved)
    return resolved, info, target


def shown_name(path: str) -> str:
    """What entries of a path are called: its last part, ``.`` where it ends in that, ``/`` for the root."""
    stripped = path.rstrip("/")
    return os.path.basename(stripped) or "/"


def pack(sink: BinaryIO, path: str, prefix: bytes, ids: tuple[IdMap, IdMap]) -> None:
    """Write a resolved path, and all below it, under the name ``prefix``; with an empty one what is below alone."""
    links: Links = {}
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        os.chdir(os.path.dirname(path))
        _put(sink, os.fsencode(os.path.basename(path)), prefix, info, links, ids)
    else:
        os.chdir(path)
        start = prefix.rstrip(b"/") + b"/" if prefix else b""
        if prefix:
            _put(sink, b".", start, info, links, ids)
        for below, found in _walk():
            _put(sink, below, start + below, found, links, ids)
    sink.write(END_OF_ARCHIVE)


def _put(
    sink: BinaryIO,
    path: bytes,
    name: bytes,
    info: os.stat_result,
    links: Links,
    ids: tuple[IdMap, IdMap],
) -> None:
    with contextlib.ExitStack() as stack:
        try:
            entry = entry_of(path, name, info, attributes_of(path), links, ids)
            # Opened before its header is written: afterwards there is no way back.
            plain = entry is not None and entry.kind is Kind.FILE
            file = stack.enter_context(open_file(path)) if plain else None
        except (FileNotFoundError, NotADirectoryError):
            return
        if entry is None:
            return
        sink.write(encode_header(entry))
        if file is not None:
            copy_file(file, path, info.st_size, sink, living=True)


def _walk() -> Iterator[tuple[bytes, os.stat_result]]:
    """All below the working directory, folders before what they hold."""
    pending = [names_in(b"")]
    while pending:
        if not pending[-1]:
            pending.pop()
            continue
        path = pending[-1].pop()
        try:
            info = os.lstat(path)
            below = names_in(path) if stat.S_ISDIR(info.st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield path, info
        if below is not None:
            pending.append(below)
