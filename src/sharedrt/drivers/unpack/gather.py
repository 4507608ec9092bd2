"""Files for COPY and ADD out of a root: their digest, and a tar with the names, owners and modes that they get.
For the worker's side only.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from sharedrt.drivers.unpack.archive_probe import is_archive
from sharedrt.drivers.unpack.messages import Message
from sharedrt.drivers.unpack.scan import (
    IdMap,
    Links,
    attributes_of,
    copy_file,
    entry_of,
    open_file,
)
from sharedrt.drivers.unpack.selection import Found, Source, find_sources, walk
from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.wire.dockerfile.chmod import ModeChange, parse_mode
from sharedrt.wire.dockerignore import IgnoreRules, parse_patterns
from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header
from sharedrt.wire.tar.entry import Kind, TarEntry

MAX_ARCHIVES: Final = 256
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Rules:
    """The order's part that both jobs have."""

    sources: list[Source]
    exclude: IgnoreRules
    parents: bool
    archives: frozenset[str]
    """Paths of sources that are archives to be unpacked: left out here."""

    @classmethod
    def read(cls, order: Message) -> "Rules":
        sources = find_sources(order["sources"], parents=order["parents"])
        archives: list[str] = []
        if order["probe"]:
            plain = (source for source in sources if not source.folder)
            archives = [source.path for source in plain if is_archive(source.path)]
        return cls(
            sources,
            parse_patterns(order["exclude"]),
            order["parents"],
            frozenset(archives),
        )

    def plain(self) -> list[Source]:
        """Sources that are copied as they are."""
        return [source for source in self.sources if source.path not in self.archives]


def survey(order: Message, ids: tuple[IdMap, IdMap]) -> Message:
    """The digest of all that is taken; times are no part of it, and owners only when they are kept."""
    rules = Rules.read(order)
    digest = hashlib.sha256()
    links: Links = {}
    entries = size = 0
    for source in rules.sources:
        _hash(digest, b"source", os.fsencode(source.shown if rules.parents else source.name))
        for found in walk(source, rules.exclude):
            entry = _entry(found, os.fsencode(found.name), links, ids)
            if entry is None:
                continue
            entries += 1
            size += entry.size
            owner = (entry.uid, entry.gid) if order["keep_owner"] else ()
            facts = (entry.kind.value, entry.mode, *owner, entry.size, entry.major, entry.minor)
            _hash(digest, entry.name, entry.link, repr(facts).encode())
            for name, value in sorted(entry.xattrs.items()):
                _hash(digest, name, value)
            if entry.kind is Kind.FILE:
                digest.update(_content(found.path))
    return {
        "type": "result",
        "digest": digest.hexdigest(),
        "count": len(rules.sources),
        "folders": sum(source.folder for source in rules.sources),
        "archives": sorted(rules.archives)[: MAX_ARCHIVES + 1],
        "entries": entries,
        "size_bytes": size,
    }


def gather(order: Message, sink: BinaryIO, ids: tuple[IdMap, IdMap]) -> None:
    """Write the tar. ``target``: where to, relative to the root; ``into``: as a folder."""
    rules = Rules.read(order)
    change = parse_mode(order["chmod"]) if order["chmod"] else None
    owner: list[int] | None = order["owner"]
    target = os.fsencode(order["target"].strip("/"))
    links: Links = {}
    for found, name in _placed(rules, target, order["into"]):
        entry = _entry(found, name, links, ids)
        if entry is None:
            continue
        _put(sink, found, _changed(entry, change, owner))
    sink.write(END_OF_ARCHIVE)


def cat(path: str, sink: BinaryIO) -> None:
    """A plain file's bytes as they are; links lead inside the root.

    Raises:
        NotFound: kind ``path``. InvalidArgument: it is no plain file.
    """
    try:
        real = os.path.realpath("/" + path, strict=True)
        info = os.lstat(real)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("path", path) from error
    except OSError as error:
        raise InvalidArgument("path", path, error.strerror or str(error)) from error
    if not stat.S_ISREG(info.st_mode):
        raise InvalidArgument("path", path, "is not a regular file")
    with open_file(os.fsencode(real)) as file:
        while data := file.read(_READ_BYTES):
            sink.write(data)


def _placed(rules: Rules, target: bytes, into: bool) -> Iterator[tuple[Found, bytes]]:
    shown_parents: set[str] = set()
    for source in rules.plain():
        base = target
        if rules.parents:
            yield from _parents(source, target, shown_parents)
            base = _join(target, source.shown)
        elif not source.folder and into:
            base = _join(target, source.name)
        for found in walk(source, rules.exclude):
            yield found, _join(base, found.name)


def _parents(source: Source, target: bytes, done: set[str]) -> Iterator[tuple[Found, bytes]]:
    """The folders above a source (and itself, if it is one), each once."""
    parts = source.shown.split("/")
    depth = len(parts) if source.folder else len(parts) - 1
    real = source.path.split("/")
    for count in range(1, depth + 1):
        shown = "/".join(parts[:count])
        if shown in done or not shown:
            continue
        done.add(shown)
        above = "/".join(real[: len(real) - (len(parts) - count)]) or "/"
        info = os.lstat(above)
        if stat.S_ISDIR(info.st_mode):
            yield Found(above, shown, info), _join(target, shown)


def _join(folder: bytes, name: str) -> bytes:
    below = os.fsencode(name)
    if not folder or not below:
        return folder or below
    return folder + b"/" + below


def _entry(found: Found, name: bytes, links: Links, ids: tuple[IdMap, IdMap]) -> TarEntry | None:
    path = os.fsencode(found.path)
    return entry_of(path, name, found.info, attributes_of(path), links, ids)


def _changed(entry: TarEntry, change: ModeChange | None, owner: list[int] | None) -> TarEntry:
    if owner is not None:
        entry = entry._replace(uid=owner[0], gid=owner[1])
    if change is not None and entry.kind is not Kind.SYMLINK:
        mode = change.apply(entry.mode, folder=entry.kind is Kind.FOLDER)
        entry = entry._replace(mode=mode)
    return entry


def _put(sink: BinaryIO, found: Found, entry: TarEntry) -> None:
    path = os.fsencode(found.path)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_file(path)) if entry.kind is Kind.FILE else None
        sink.write(encode_header(entry))
        if file is not None:
            copy_file(file, path, entry.size, sink, living=True)


def _hash(digest: "hashlib._Hash", *values: bytes) -> None:
    for value in values:
        digest.update(b"%d:" % len(value))
        digest.update(value)


def _content(path: str) -> bytes:
    with open_file(os.fsencode(path)) as file:
        digest = hashlib.sha256()
        while data := file.read(_READ_BYTES):
            digest.update(data)
        return digest.digest()
