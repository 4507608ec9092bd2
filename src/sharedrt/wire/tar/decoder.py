"""Reads a tar stream as it comes.

Layout (POSIX.1-2017, pax, "ustar Interchange Format"): 512-byte blocks; a header block, then the
member's data padded to a whole block; two zero blocks end the archive. Header fields, by offset::

    0 name[100]  100 mode[8]  108 uid[8]  116 gid[8]  124 size[12]  136 mtime[12]  148 checksum[8]
    156 type     157 link[100]  257 magic[8]  265 uname[32]  297 gname[32]  329 major[8]  337 minor[8]
    345 prefix[155]    (GNU: 386 sparse structs 4 x 24, 482 more, 483 real size[12])
"""

from collections.abc import Callable
from typing import Final

from sharedrt.model.faults import InvalidArgument, ResourceExhausted
from sharedrt.wire.tar.entry import Kind, TarData, TarEnd, TarEntry, TarEvent
from sharedrt.wire.tar.numbers import damaged, parse_number
from sharedrt.wire.tar.pax import Records, parse_records, read_overrides
from sharedrt.wire.tar.sparse import (
    MAX_EXTENTS,
    Extents,
    SparseData,
    parse_map_count,
    parse_old_structs,
    parse_pairs,
    too_many_extents,
)

BLOCK: Final = 512
_ZERO_BLOCK: Final = bytes(BLOCK)
_MAX_SIZE: Final = (1 << 63) - 1

_KINDS: Final = {kind.value: kind for kind in Kind} | {
    b"\0": Kind.FILE,
    b"7": Kind.FILE,  # contiguous file
    b"S": Kind.FILE,  # GNU sparse
}


class TarDecoder:
    """tar bytes in, entries and data out; how the bytes are cut makes no difference but to data's pieces.

    What follows the end mark is ignored. An archive may end without the mark, between two members, as
    Go's and GNU's readers allow.

    Args:
        max_extended: longest extended header (long name, pax records) accepted, in bytes.

    Raises (:meth:`receive_data`):
        DataLoss: malformed. InvalidArgument: a type of member that no layer may have.
        ResourceExhausted: an extended header or a sparse map beyond the bounds.
    """

    def __init__(self, *, max_extended: int = 1 << 20) -> None:
        self._max_extended = max_extended
        self._buffer = b""
        self._want = BLOCK
        self._on_block: Callable[[bytes], None] = self._header
        self._events: list[TarEvent] = []
        self._zero_blocks = 0
        self._ended = False
        self._in_data = False
        self._data_left = 0
        self._padding = 0
        self._padding_after = 0
        self._offset = 0
        self._sparse: SparseData | None = None
        self._draft: TarEntry | None = None
        self._map = bytearray()
        self._map_lines = 0
        self._extents: Extents = []
        self._global: dict[bytes, bytes] = {}
        self._between_members()

    def _between_members(self) -> None:
        """Forget what extended headers said of the member that has come."""
        self._records: Records = []
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._extended = False

    def receive_data(self, data: bytes) -> list[TarEvent]:
        """Take the next bytes; the events that they complete, whose data points into ``data``."""
        if self._ended:
            return []
        view = memoryview(self._buffer + data if self._buffer else data)
        at, end = 0, len(view)
        events: list[TarEvent] = []
        self._events = events
        while not self._ended:
            if self._in_data:
                taken = min(self._data_left, end - at)
                if taken:
                    self._place(view[at : at + taken])
                    at += taken
                    self._data_left -= taken
                if self._data_left:
                    break
                events.append(TarEnd())
                self._draft = None
                self._in_data = False
            if self._padding:
                taken = min(self._padding, end - at)
                at += taken
                self._padding -= taken
                if self._padding:
                    break
            if end - at < self._want:
                break
            block = bytes(view[at : at + self._want])
            at += self._want
            self._on_block(block)
        self._buffer = bytes(view[at:])
        return events

    def receive_eof(self) -> None:
        """The stream has ended. Raises DataLoss when it ended inside a member.

        The end mark may be missing, and the last member's padding: the docker CLI writes such archives when it
        puts a Dockerfile from its standard input into a context.
        """
        if self._ended:
            return
        if self._buffer or self._draft is not None or self._extended:
            raise damaged("truncated")

    def _place(self, data: memoryview) -> None:
        if self._sparse is not None:
            self._events.extend(self._sparse.place(data))
        else:
            self._events.append(TarData(self._offset, data))
            self._offset += len(data)

    # ------------------------------------------------------------ blocks

    def _header(self, block: bytes) -> None:
        if block == _ZERO_BLOCK:
            if self._extended:
                raise damaged("an extended header without its member")
            self._zero_blocks += 1
            self._ended = self._zero_blocks == 2
            return
        if self._zero_blocks:
            raise damaged("a lone zero block")
        _verify_checksum(block)
        flag = block[156:157]
        size = parse_number(block[124:136])
        if flag in _EXTENDED:
            if not 0 <= size <= self._max_extended:
                raise ResourceExhausted(
                    "tar archive", f"an extended header of {size} bytes, over {self._max_extended}"
                )
            self._extended = flag != b"g"
            self._want = size
            self._padding_after = -size % BLOCK
            self._on_block = {
                b"x": self._pax,
                b"X": self._pax,
                b"g": self._global_pax,
                b"L": self._gnu_name,
                b"K": self._gnu_link,
            }[flag]
            return
        self._member(block, flag, size)

    def _extended_done(self) -> None:
        self._want = BLOCK
        self._on_block = self._header
        self._padding = self._padding_after

    def _pax(self, data: bytes) -> None:
        self._records += parse_records(data)
        self._extended_done()

    def _global_pax(self, data: bytes) -> None:
        for key, value in parse_records(data):
            if value:
                self._global[key] = value
            else:
                self._global.pop(key, None)
        if len(self._global) > 4096:
            raise ResourceExhausted("tar archive", "more than 4096 global pax records")
        self._extended_done()

    def _gnu_name(self, data: bytes) -> None:
        self._long_name = data.partition(b"\0")[0]
        self._extended_done()

    def _gnu_link(self, data: bytes) -> None:
        self._long_link = data.partition(b"\0")[0]
        self._extended_done()

    # ------------------------------------------------------------ members

    def _member(self, block: bytes, flag: bytes, size: int) -> None:
        pax = read_overrides(self._global, self._records)
        name = pax.path if pax.path is not None else self._long_name
        if name is None:
            name = _name(block)
        link = pax.link if pax.link is not None else self._long_link
        if link is None:
            link = block[157:257].partition(b"\0")[0]
        kind = _KINDS.get(flag)
        if kind is None:
            raise InvalidArgument("tar entry", _text(name), f"unsupported type {flag!r}")
        if kind is Kind.FILE and name.endswith(b"/"):
            kind = Kind.FOLDER
        if pax.size is not None:
            size = pax.size
        if not 0 <= size <= _MAX_SIZE:
            raise damaged(f"a size of {size} bytes")
        if not name or b"\0" in name or b"\0" in link:
            raise damaged("an empty name, or one with a NUL in it")
        uid = pax.uid if pax.uid is not None else parse_number(block[108:116])
        gid = pax.gid if pax.gid is not None else parse_number(block[116:124])
        if uid < 0 or gid < 0:
            raise damaged("a negative owner")
        mtime_ns = pax.mtime_ns
        if mtime_ns is None:
            mtime_ns = parse_number(block[136:148]) * 1_000_000_000
        device = kind is Kind.CHARACTER_DEVICE or kind is Kind.BLOCK_DEVICE
        draft = TarEntry(
            name=name,
            kind=kind,
            mode=parse_number(block[100:108]) & 0o7777,
            uid=uid,
            gid=gid,
            mtime_ns=min(max(mtime_ns, -_MAX_SIZE), _MAX_SIZE),
            link=link if kind is Kind.HARDLINK or kind is Kind.SYMLINK else b"",
            major=parse_number(block[329:337]) if device else 0,
            minor=parse_number(block[337:345]) if device else 0,
            xattrs=pax.xattrs,
        )
        self._between_members()
        self._offset = 0
        self._sparse = None
        if kind is not Kind.FILE:
            # These have no data, whatever their size field says (as in Go's reader).
            self._events += (draft, TarEnd())
            return
        self._draft = draft
        self._data_left = size
        if flag == b"S":
            self._extents = parse_old_structs(block, 386, 4)
            self._draft = draft._replace(size=parse_number(block[483:495]))
            self._want_more_structs(block[482])
        elif pax.map_in_data:
            self._draft = draft._replace(size=_real_size(pax.real_size))
            self._map.clear()
            self._map_lines = 0
            self._on_block = self._sparse_map
        elif pax.extents is not None:
            self._extents = pax.extents
            self._draft = draft._replace(size=_real_size(pax.real_size))
            self._begin_sparse()
        else:
            self._draft = draft._replace(size=size)
            self._begin_data()

    def _want_more_structs(self, more: int) -> None:
        if more:
            self._on_block = self._old_sparse
        else:
            self._begin_sparse()

    def _old_sparse(self, block: bytes) -> None:
        self._extents += parse_old_structs(block, 0, 21)
        if len(self._extents) > MAX_EXTENTS:
            raise too_many_extents()
        self._want_more_structs(block[504])

    def _sparse_map(self, block: bytes) -> None:
        if self._data_left < BLOCK:
            raise damaged("a sparse map beyond the stored size")
        self._data_left -= BLOCK
        self._map += block
        self._map_lines += block.count(b"\n")
        count = parse_map_count(self._map)
        if count is not None and self._map_lines > 2 * count:
            self._extents = parse_pairs(bytes(self._map).split(b"\n")[1 : 2 * count + 1])
            self._begin_sparse()

    def _begin_sparse(self) -> None:
        assert self._draft is not None
        self._draft = self._draft._replace(sparse=True)
        if not 0 <= self._draft.size <= _MAX_SIZE:
            raise damaged(f"a size of {self._draft.size} bytes")
        self._sparse = SparseData(self._extents, self._draft.size, self._data_left)
        self._on_block = self._header
        self._begin_data()

    def _begin_data(self) -> None:
        assert self._draft is not None
        self._events.append(self._draft)
        self._in_data = True
        self._padding = -self._data_left % BLOCK


_EXTENDED: Final = frozenset((b"x", b"X", b"g", b"L", b"K"))


def _verify_checksum(block: bytes) -> None:
    stated = parse_number(block[148:156])
    unsigned = sum(block) - sum(block[148:156]) + 8 * 0x20
    if stated == unsigned:
        return
    # Some old writers summed signed characters.
    negative = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[148:156])
    if stated != unsigned - 256 * negative:
        raise damaged("a header's checksum does not fit: no tar archive, or a damaged one")


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0":
        # star keeps its times behind a shorter prefix, and says so at the block's end.
        length = 131 if block[508:512] == b"tar\0" else 155
        prefix = block[345 : 345 + length].partition(b"\0")[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _real_size(size: int | None) -> int:
    if size is None:
        raise damaged("a sparse file without its real size")
    return size


def _text(name: bytes) -> str:
    return name[:200].decode("utf-8", "backslashreplace")
