"""Where the members of a tar are, without unpacking it: for archives of images, which are hostile input.

Formats: POSIX ustar and pax, GNU long names and base-256 numbers. Only regular files and links are
listed; a member's bytes are never read here, and no header may be longer than 1 MiB.
"""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sharedrt.model.faults import InvalidArgument

BLOCK: Final = 512
MAX_HEADER_BYTES: Final = 1 << 20
_ZERO: Final = bytes(BLOCK)
_REGULAR: Final = frozenset(b"0\x007")
_HARD_LINK, _SYMLINK = ord("1"), ord("2")
_GNU_NAME, _GNU_LINK = ord("L"), ord("K")
_PAX, _PAX_GLOBAL = ord("x"), ord("g")
_GNU_SPARSE: Final = ord("S")
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
        length = _number(header[124:136])
        if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK):
            if length > MAX_HEADER_BYTES:
                raise InvalidArgument("archive", f"byte {offset}", "has a header over 1 MiB")
            value = read(data, length)
            if len(value) < length:
                raise InvalidArgument("archive", f"byte {offset}", "is cut short")
            if kind == _PAX:
                extended |= _pax(value)
            elif kind == _GNU_NAME:
                extended["path"] = _text(value)
            elif kind == _GNU_LINK:
                extended["linkpath"] = _text(value)
        else:
            if "size" in extended:
                length = _decimal(extended["size"])
            if kind == _GNU_SPARSE or any(key.startswith("GNU.sparse") for key in extended):
                raise InvalidArgument("archive", f"byte {offset}", "has sparse files")
            if kind not in _REGULAR and kind not in (_HARD_LINK, _SYMLINK):
                length = 0 if kind in b"3456" else length
            elif kind == _HARD_LINK or kind == _SYMLINK:
                length = 0
            if data + length > size:
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
    try:
        told = _number(header[148:156])
    except InvalidArgument:
        return False
    blanked = header[:148] + b" " * 8 + header[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in blanked)
    return told in (sum(blanked), signed)


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise InvalidArgument("archive", field.hex(), "has a negative or huge number")
        return int.from_bytes(field[1:], "big")
    text = field.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError as error:
        raise InvalidArgument("archive", field.hex(), "has a malformed number") from error


def _decimal(text: str) -> int:
    if not text.isdecimal() or len(text) > 19:
        raise InvalidArgument("archive", text[:40], "has a malformed number")
    return int(text)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax(data: bytes) -> dict[str, str]:
    """Records ``LENGTH KEY=VALUE\\n`` (POSIX, "pax Header Block")."""
    found = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space] if space > 0 else b""
        if not digits.isdigit():
            raise InvalidArgument(
                "archive", data[position : position + 20].hex(), "has a bad pax header"
            )
        end = position + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 1 or not equals or data[end - 1 : end] != b"\n":
            raise InvalidArgument("archive", key[:40].hex(), "has a bad pax header")
        found[_text(key)] = value.decode("utf-8", "surrogateescape")
        position = end
    return found
