"""Writes tar entries: ustar where it suffices, pax records for the rest.

The same entries give the same bytes: no times or ids are taken from anywhere else.
"""

from typing import Final

from sharedrt.wire.tar.decoder import BLOCK
from sharedrt.wire.tar.entry import Kind, TarEntry
from sharedrt.wire.tar.numbers import format_pax_time
from sharedrt.wire.tar.pax import format_record

END_OF_ARCHIVE: Final = bytes(2 * BLOCK)

_MAX_ID: Final = 0o7777777
_MAX_OCTAL_11: Final = 0o77777777777


def encode_header(entry: TarEntry) -> bytes:
    """The header blocks of an entry (its data, padded by :func:`padding`, comes after them).

    Folders get a slash at the end of their name. Sparse files are written whole: ``entry.sparse`` has
    no meaning here.
    """
    name = entry.name
    if entry.kind is Kind.FOLDER and not name.endswith(b"/"):
        name += b"/"
    seconds, fraction = divmod(entry.mtime_ns, 1_000_000_000)
    size = entry.size if entry.kind is Kind.FILE else 0
    records = []
    if len(name) > 100 or not name.isascii():
        records.append((b"path", name))
    if len(entry.link) > 100 or not entry.link.isascii():
        records.append((b"linkpath", entry.link))
    if fraction or not 0 <= seconds <= _MAX_OCTAL_11:
        records.append((b"mtime", format_pax_time(entry.mtime_ns)))
    if entry.uid > _MAX_ID:
        records.append((b"uid", b"%d" % entry.uid))
    if entry.gid > _MAX_ID:
        records.append((b"gid", b"%d" % entry.gid))
    if size > _MAX_OCTAL_11:
        records.append((b"size", b"%d" % size))
    records += [(b"SCHILY.xattr." + k, v) for k, v in sorted(entry.xattrs.items())]
    header = _ustar(
        name[:100],
        entry.kind.value,
        mode=entry.mode,
        uid=min(entry.uid, _MAX_ID),
        gid=min(entry.gid, _MAX_ID),
        size=min(size, _MAX_OCTAL_11),
        seconds=min(max(seconds, 0), _MAX_OCTAL_11),
        link=entry.link[:100],
        major=entry.major,
        minor=entry.minor,
    )
    if not records:
        return header
    data = b"".join(format_record(key, value) for key, value in records)
    extended = _ustar(
        b"PaxHeaders/" + name.rstrip(b"/").rpartition(b"/")[2][:80],
        b"x",
        mode=0o644,
        uid=0,
        gid=0,
        size=len(data),
        seconds=0,
    )
    return extended + data + padding(len(data)) + header


def padding(size: int) -> bytes:
    """Zeros that fill the last block of ``size`` bytes of data."""
    return bytes(-size % BLOCK)


def _ustar(
    name: bytes,
    flag: bytes,
    *,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    seconds: int,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
) -> bytes:
    head = b"%-100b%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        name.ljust(100, b"\0"),
        mode,
        uid,
        gid,
        size,
        seconds,
    )
    tail = b"%b%b%b%b%b%07o\0%07o\0" % (
        flag,
        link.ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(32),
        bytes(32),
        major,
        minor,
    )
    checksum = sum(head) + sum(tail) + 8 * 0x20
    return (head + b"%06o\0 " % checksum + tail).ljust(BLOCK, b"\0")
