"""pax extended headers: records, and what they say of the entry that follows.

Spec: POSIX.1-2017, pax, "pax Extended Header". Of the vendors' keywords those count that layers carry:
``SCHILY.xattr.*`` (star, GNU tar, Docker), ``LIBARCHIVE.xattr.*`` (bsdtar) and ``GNU.sparse.*``.
"""

import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

from sharedrt.wire.tar.entry import NO_XATTRS
from sharedrt.wire.tar.numbers import damaged, parse_pax_integer, parse_pax_time
from sharedrt.wire.tar.sparse import Extents, parse_pairs

_SCHILY_XATTR = b"SCHILY.xattr."
_LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")

Records = list[tuple[bytes, bytes]]


def parse_records(data: bytes) -> Records:
    """``LENGTH KEY=VALUE\\n`` records, in order. Raises DataLoss."""
    records = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        if space < 0:
            raise damaged("a pax record without a length")
        end = at + parse_pax_integer(data[at:space])
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space + 1 or data[end - 1] != 0x0A or not equals or not key:
            raise damaged("a malformed pax record")
        records.append((key, value))
        at = end
    return records


def format_record(key: bytes, value: bytes) -> bytes:
    """One record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if rest + len(str(length)) != length:
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


class PaxOverrides(NamedTuple):
    """What records put in place of a header's fields; ``None``: the header's counts."""

    path: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    xattrs: Mapping[bytes, bytes] = NO_XATTRS
    real_size: int | None = None
    """Of a sparse file."""
    extents: Extents | None = None
    map_in_data: bool = False
    """The sparse map stands before the file's data (pax 1.0)."""


NO_OVERRIDES = PaxOverrides()


def read_overrides(global_records: Mapping[bytes, bytes], records: Records) -> PaxOverrides:
    """Apply an entry's records over the global ones; an empty value takes a record back."""
    if not global_records and not records:
        return NO_OVERRIDES
    merged = dict(global_records)
    for key, value in records:
        if value or key.startswith((_SCHILY_XATTR, _LIBARCHIVE_XATTR)):
            merged[key] = value
        else:
            merged.pop(key, None)

    def number(key: bytes) -> int | None:
        return parse_pax_integer(merged[key]) if key in merged else None

    real_size = number(b"GNU.sparse.realsize")
    if real_size is None:
        real_size = number(b"GNU.sparse.size")
    return PaxOverrides(
        path=merged.get(b"GNU.sparse.name", merged.get(b"path")),
        link=merged.get(b"linkpath"),
        size=number(b"size"),
        uid=number(b"uid"),
        gid=number(b"gid"),
        mtime_ns=parse_pax_time(merged[b"mtime"]) if b"mtime" in merged else None,
        xattrs=_xattrs(merged),
        real_size=real_size,
        extents=_extents(merged, records),
        map_in_data=_map_in_data(merged),
    )


def _xattrs(merged: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for key, value in merged.items():
        if key.startswith(_LIBARCHIVE_XATTR):
            name = _PERCENT.sub(lambda m: bytes((int(m[1], 16),)), key[len(_LIBARCHIVE_XATTR) :])
            try:
                decoded = binascii.a2b_base64(value + b"=" * (-len(value) % 4))
            except binascii.Error as error:
                raise damaged(f"malformed base64 in {key[:80]!r}") from error
            found.setdefault(name, decoded)
    # bsdtar writes both forms; the raw one is what everyone else reads.
    for key, value in merged.items():
        if key.startswith(_SCHILY_XATTR):
            found[key[len(_SCHILY_XATTR) :]] = value
    return found or NO_XATTRS


def _map_in_data(merged: Mapping[bytes, bytes]) -> bool:
    major = merged.get(b"GNU.sparse.major")
    if major is None:
        return False
    version = major + b"." + merged.get(b"GNU.sparse.minor", b"0")
    if version == b"1.0":
        return True
    if version in (b"0.0", b"0.1"):
        return False
    raise damaged(f"sparse format {version!r} is unknown")


def _extents(merged: Mapping[bytes, bytes], records: Records) -> Extents | None:
    if (text := merged.get(b"GNU.sparse.map")) is not None:
        return parse_pairs(text.split(b","))
    pairs = [v for k, v in records if k in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
    if pairs:
        return parse_pairs(pairs)
    return [] if b"GNU.sparse.numblocks" in merged else None
