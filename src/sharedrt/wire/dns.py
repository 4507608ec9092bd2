"""DNS messages as far as a name server for containers needs them (RFC 1035, RFC 6891).

Queries are read and answered here; a message that is passed on to another server stays as it is, but for its id.

A message is a header of six u16 (id, flags, and the counts of questions, answers, authorities and additionals),
then the sections. Flags, from the left::

    QR(1) OPCODE(4) AA(1) TC(1) RD(1) RA(1) Z(1) AD(1) CD(1) RCODE(4)
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

Name: TypeAlias = tuple[bytes, ...]
"""Labels; the root is the empty tuple."""

A: Final = 1
PTR: Final = 12
AAAA: Final = 28
OPT: Final = 41
ANY: Final = 255
IN: Final = 1

UDP_MAX: Final = 512
"""What a client takes over UDP that does not say otherwise (RFC 1035, 4.2.1)."""
OUR_UDP_MAX: Final = 1232
"""What we take and send at most: fits every path without fragments (DNS flag day 2020)."""
TCP_MAX: Final = 65535

_HEADER: Final = struct.Struct("!6H")
_FIXED: Final = struct.Struct("!HHIH")
_NAME_MAX: Final = 255
_LABEL_MAX: Final = 63
_POINTER: Final = 0xC0
_FOUR: Final = ".in-addr.arpa"
_SIX: Final = ".ip6.arpa"


class Rcode(IntEnum):
    """RFC 1035, 4.1.1."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class DnsError(ValueError):
    """Bytes that are no message, or not one that can be answered.

    Args:
        id: of the message, when it deserves the answer ``rcode``; ``None``: it deserves none.
    """

    def __init__(self, reason: str, id: int | None = None, rcode: Rcode = Rcode.FORMERR) -> None:
        super().__init__(reason)
        self.id, self.rcode = id, rcode


@dataclass(frozen=True, slots=True)
class Question:
    name: Name
    type: int
    cls: int = IN

    @property
    def text(self) -> str:
        """The name in lower case, without the root's dot."""
        return name_text(self.name).lower()


@dataclass(frozen=True, slots=True)
class Query:
    """A query with its one question. ``udp_max``: the longest answer that the client takes over UDP, in bytes."""

    id: int
    question: Question
    recursion_desired: bool = True
    edns: bool = False
    udp_max: int = UDP_MAX


@dataclass(frozen=True, slots=True)
class Record:
    """An answer. ``data``: as on the wire, see :func:`address_record` and :func:`pointer_record`."""

    type: int
    data: bytes
    ttl_s: int


# ---------------------------------------------------------------- names


def name_text(name: Name) -> str:
    return b".".join(name).decode("latin-1")


def parse_name(text: str) -> Name:
    """Labels of a dotted name. Raises DnsError: a label or the whole is too long, or a label empty."""
    name = tuple(text.encode("latin-1", "replace").rstrip(b".").split(b".")) if text else ()
    encode_name(name)
    return name


def encode_name(name: Name) -> bytes:
    """Uncompressed. Raises DnsError."""
    encoded = b""
    for label in name:
        if not 0 < len(label) <= _LABEL_MAX:
            raise DnsError(f"label of {len(label)} bytes")
        encoded += bytes((len(label),)) + label
    if len(encoded) >= _NAME_MAX:
        raise DnsError(f"name of {len(encoded)} bytes")
    return encoded + b"\0"


def decode_name(data: bytes, offset: int) -> tuple[Name, int]:
    """The name at ``offset`` and where it ends. Raises DnsError.

    A pointer must lead further back than any place that was read before, so that none leads in circles.
    """
    labels: list[bytes] = []
    size, end, limit = 1, 0, offset
    while True:
        if offset >= len(data):
            raise DnsError("name is cut short")
        length = data[offset]
        if length & _POINTER == _POINTER:
            if offset + 1 >= len(data):
                raise DnsError("pointer is cut short")
            target = (length & ~_POINTER) << 8 | data[offset + 1]
            end = end or offset + 2
            if target >= limit:
                raise DnsError("pointer does not lead back")
            offset = limit = target
            continue
        if length & _POINTER:
            raise DnsError("label of an unknown kind")
        offset += 1
        if not length:
            return tuple(labels), end or offset
        label = data[offset : offset + length]
        size += length + 1
        if len(label) < length or size > _NAME_MAX:
            raise DnsError("name is cut short or too long")
        labels.append(label)
        offset += length


def reverse_address(text: str) -> str:
    """The address that a name of a reverse zone stands for; empty for another name (RFC 1035, 3.5; RFC 3596, 2.5)."""
    text = text.lower()
    try:
        if text.endswith(_FOUR):
            return str(IPv4Address(".".join(text.removesuffix(_FOUR).split(".")[::-1])))
        if text.endswith(_SIX):
            nibbles = text.removesuffix(_SIX).split(".")[::-1]
            if len(nibbles) == 32 and all(len(nibble) == 1 for nibble in nibbles):
                return str(IPv6Address(int("".join(nibbles), 16)))
    except ValueError:
        return ""
    return ""


# ---------------------------------------------------------------- messages


def parse_query(data: bytes) -> Query:
    """Raises DnsError; its ``id`` tells whether and how to answer."""
    if len(data) < _HEADER.size:
        raise DnsError("no header")
    id, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if flags & 0x8000:
        raise DnsError("an answer, not a query")
    if flags >> 11 & 0xF:
        raise DnsError("not a standard query", id, Rcode.NOTIMP)
    if questions != 1 or answers or authorities > 1:
        raise DnsError("not one question", id)
    try:
        question, offset = _question(data, _HEADER.size)
        edns, udp_max = _options(data, offset, authorities + additionals)
    except (DnsError, struct.error) as error:
        raise DnsError(str(error), id) from error
    return Query(id, question, bool(flags & 0x0100), edns, udp_max)


def _question(data: bytes, offset: int) -> tuple[Question, int]:
    name, offset = decode_name(data, offset)
    kind, cls = struct.unpack_from("!HH", data, offset)
    return Question(name, kind, cls), offset + 4


def _options(data: bytes, offset: int, count: int) -> tuple[bool, int]:
    """EDNS0: whether there is an OPT record, and the client's limit, which is its class."""
    for _ in range(count):
        _, offset = decode_name(data, offset)
        kind, cls, _, length = _FIXED.unpack_from(data, offset)
        offset += _FIXED.size + length
        if offset > len(data):
            raise DnsError("record is cut short")
        if kind == OPT:
            return True, min(max(cls, UDP_MAX), OUR_UDP_MAX)
    return False, UDP_MAX


def address_record(address: str, ttl_s: int) -> Record:
    """A or AAAA."""
    parsed = ip_address(address)
    return Record(A if parsed.version == 4 else AAAA, parsed.packed, ttl_s)


def pointer_record(name: str, ttl_s: int) -> Record:
    """PTR. Raises DnsError for a name that cannot be one."""
    return Record(PTR, encode_name(parse_name(name)), ttl_s)


def response(
    query: Query, rcode: Rcode, records: Sequence[Record] = (), *, max_bytes: int = TCP_MAX
) -> bytes:
    """The answer to a query. One that is longer than ``max_bytes`` is empty and marked as truncated, for which
    the client asks again over TCP."""
    flags = 0x8480 | rcode | (0x0100 if query.recursion_desired else 0)
    question = encode_name(query.question.name)
    question += struct.pack("!HH", query.question.type, query.question.cls)
    # Every answer is about the question's name: a pointer to it, behind the header.
    answers = b"".join(
        struct.pack("!HHHIH", 0xC000 | _HEADER.size, r.type, IN, r.ttl_s, len(r.data)) + r.data
        for r in records
    )
    options = b"\0" + _FIXED.pack(OPT, OUR_UDP_MAX, 0, 0) if query.edns else b""
    count = len(records)
    if _HEADER.size + len(question) + len(answers) + len(options) > max_bytes:
        flags, answers, count = flags | 0x0200, b"", 0
    header = _HEADER.pack(query.id, flags, 1, count, 0, 1 if options else 0)
    return header + question + answers + options


def error_response(error: DnsError) -> bytes | None:
    """The answer that a message deserves which could not be read, if any."""
    if error.id is None:
        return None
    return _HEADER.pack(error.id, 0x8080 | error.rcode, 0, 0, 0, 0)


def with_id(data: bytes, id: int) -> bytes:
    """A message under another id."""
    return struct.pack("!H", id) + data[2:]


def answers_query(data: bytes, id: int, question: Question) -> bool:
    """Whether a message is the answer to a query of ours: id and question are repeated in it (RFC 5452, 9.1)."""
    if len(data) < _HEADER.size:
        return False
    got, flags, questions = struct.unpack_from("!HHH", data)
    if got != id or not flags & 0x8000 or questions != 1:
        return False
    try:
        asked, _ = _question(data, _HEADER.size)
    except (DnsError, struct.error):
        return False
    same = (asked.type, asked.cls) == (question.type, question.cls)
    return same and asked.text == question.text


# ---------------------------------------------------------------- TCP


class TcpMessages:
    """Messages on a stream: each behind its length, a big-endian u16 (RFC 1035, 4.2.2)."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive_data(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        self._buffer += data
        messages = []
        while len(self._buffer) >= 2:
            end = 2 + int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < end:
                break
            messages.append(self._buffer[2:end])
            self._buffer = self._buffer[end:]
        return messages

    def receive_eof(self) -> None:
        """Raises DnsError when a message was cut short."""
        if self._buffer:
            raise DnsError("message is cut short")


def tcp_message(data: bytes) -> bytes:
    """A message for a stream."""
    return len(data).to_bytes(2, "big") + data
