"""Where the members of a tar are, without unpacking it: for archives of images, which are hostile input.

Formats: POSIX ustar and pax, GNU long names and base-256 numbers. Only regular files and links are
listed; a member's bytes are never read here, and no header may be longer than 1 MiB.
"""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sharedrt.model.faults import DataLoss, InvalidArgument
from sharedrt.wire.tar.numbers import parse_number, parse_pax_integer
from sharedrt.wire.tar.pax import parse_records

BLOCK: Final = 512
MAX_HEADER_BYTES: Final = 1 << 20
_ZERO: Final = bytes(BLOCK)
_REGULAR: Final = frozenset(b"0\x007")
_HARD_LINK, _SYMLINK = ord("1"), ord("2")
_GNU_NAME, _GNU_LINK = ord("L"), ord("K")
_PAX, _PAX_GLOBAL = ord("x"), ord("g")
_GNU_SPARSE: Final = ord("S")
_WITHOUT_DATA: Final = frozenset(b"123456")
_MAX_LINKS: Final = 8

ReadAt = Callable[[int, int], bytes]
"""(offset, length) to bytes, fewer at the end."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file's place in the archive."""

    offset: int
    size: int


class TarIndex:
    """Members by name; names are relative and clean, ``a/b`` for ``./a//b``."""

    def __init__(self) -> None:
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._files or name in self._links

    def names(self) -> list[str]:
        return [*self._files, *self._links]

    def get(self, name: str) -> Member:
        """A file, through links that stay inside the archive.

        Raises:
            InvalidArgument: there is none.
        """
        current = clean_name(name)
        for _ in range(_MAX_LINKS):
            if (member := self._files.get(current)) is not None:
                return member
            if current not in self._links:
                break
            current = self._links[current]
        raise InvalidArgument("archive", name, "has no such file")

    def add_file(self, name: str, member: Member) -> None:
        self._links.pop(name, None)
        self._files[name] = member

    def add_link(self, name: str, target: str) -> None:
        self._files.pop(name, None)
        self._links[name] = target


def index_tar(read: ReadAt, size: int, *, max_entries: int = 100_000) -> TarIndex:
    """List the members of a tar of ``size`` bytes.

    Raises:
        InvalidArgument: no tar, cut short, too many entries, a name or link that leads outside, sparse files.
        DataLoss: a malformed number or pax record.
    """
    index = TarIndex()
    offset = entries = 0
    extended: dict[str, str] = {}
    while True:
        header = read(offset, BLOCK)
        if not header or header == _ZERO:
            if offset == 0:
                raise InvalidArgument("archive", "", "is empty")
            return index
        if len(header) < BLOCK or not _checksum_fits(header):
            raise InvalidArgument("archive", f"byte {offset}", "is not a tar header")
        entries += 1
        if entries > max_entries:
            raise InvalidArgument("archive", "", f"has more than {max_entries} entries")
        kind = header[156]
        data = offset + BLOCK
        length = parse_number(header[124:136])
        if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK):
            if not 0 <= length <= MAX_HEADER_BYTES:
                raise InvalidArgument("archive", f"byte {offset}", "has a header over 1 MiB")
            value = read(data, length)
            if len(value) < length:
                raise InvalidArgument("archive", f"byte {offset}", "is cut short")
            if kind == _PAX:
                extended |= {_text(key): _text(text) for key, text in parse_records(value)}
            elif kind == _GNU_NAME:
                extended["path"] = _text(value)
            elif kind == _GNU_LINK:
                extended["linkpath"] = _text(value)
        else:
            if "size" in extended:
                length = parse_pax_integer(extended["size"].encode())
            if kind == _GNU_SPARSE or any(key.startswith("GNU.sparse") for key in extended):
                raise InvalidArgument("archive", f"byte {offset}", "has sparse files")
            if kind in _WITHOUT_DATA:
                length = 0
            if length < 0 or data + length > size:
                raise InvalidArgument("archive", f"byte {offset}", "is cut short")
            _add(index, header, kind, extended, Member(data, length))
            extended = {}
        offset = data + (length + BLOCK - 1) // BLOCK * BLOCK


def clean_name(name: str) -> str:
    """Raises InvalidArgument for one that leads outside."""
    clean = posixpath.normpath(name)
    if name.startswith("/") or clean == ".." or clean.startswith("../") or "\0" in name:
        raise InvalidArgument("archive", name, "leads outside the archive")
    return clean


def _add(
    index: TarIndex, header: bytes, kind: int, extended: dict[str, str], member: Member
) -> None:
    name = extended.get("path") or _header_name(header)
    if kind in _REGULAR and not name.endswith("/"):
        index.add_file(clean_name(name), member)
    elif kind in (_HARD_LINK, _SYMLINK):
        clean = clean_name(name)
        target = extended.get("linkpath") or _text(header[157:257])
        if kind == _SYMLINK:
            if target.startswith("/"):
                raise InvalidArgument("archive", name, "links outside the archive")
            target = posixpath.join(posixpath.dirname(clean), target)
        index.add_link(clean, clean_name(target))
    else:
        clean_name(name)


def _header_name(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
        return f"{prefix}/{name}"
    return name


def _checksum_fits(header: bytes) -> bool:
    blanked = header[:148] + b" " * 8 + header[156:]
    try:
        return parse_number(header[148:156]) == sum(blanked)
    except DataLoss:
        return False


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")
