"""WebSocket (RFC 6455), the server's end and, for tests, the client's: bytes in, messages out.

No extensions: a kubelet's clients ask for none.
"""

import base64
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

MAX_MESSAGE_BYTES: Final = 32 << 20
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FIN: Final = 0x80
_MASKED: Final = 0x80
_U16: Final = struct.Struct(">H")
_U64: Final = struct.Struct(">Q")


class WebSocketError(Exception):
    """The bytes break the protocol: fail the connection (section 7.1.7)."""


class Opcode(IntEnum):
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, however many frames it came in."""

    data: bytes
    text: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered by a pong with the same data."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer closes; to be answered by a close frame."""

    code: int
    """1005 when the peer gave none."""


Event: TypeAlias = Message | Ping | Closed


def accept_key(key: str) -> str:
    """``Sec-WebSocket-Accept`` for the client's ``Sec-WebSocket-Key`` (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


class MessageDecoder:
    """Bytes in, messages out; any split of the bytes gives the same.

    Args:
        masked: whether the peer must mask its frames: clients must, servers must not (section 5.1).
    """

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._opcode: Opcode | None = None

    def receive_data(self, data: bytes) -> Iterator[Event]:
        """Raises WebSocketError."""
        self._buffer += data
        while (frame := self._next_frame()) is not None:
            opcode, fin, payload = frame
            event = self._on_frame(opcode, fin, payload)
            if event is not None:
                yield event

    def receive_eof(self) -> None:
        """Raises WebSocketError when a frame or message was cut short."""
        if self._buffer or self._opcode is not None:
            raise WebSocketError("the connection ended inside of a message")

    def _next_frame(self) -> tuple[Opcode, bool, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        if first & 0x70:
            raise WebSocketError("reserved bits are set")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError as error:
            raise WebSocketError(f"unknown opcode {first & 0x0F}") from error
        if bool(second & _MASKED) is not self._masked:
            raise WebSocketError("masked the wrong way")
        length, offset = second & 0x7F, 2
        if opcode >= Opcode.CLOSE and (length > 125 or not first & _FIN):
            raise WebSocketError("control frame is fragmented or too long")
        if length >= 126:
            layout = _U16 if length == 126 else _U64
            if len(buffer) < offset + layout.size:
                return None
            (length,) = layout.unpack_from(buffer, offset)
            offset += layout.size
        if length + self._size > MAX_MESSAGE_BYTES:
            raise WebSocketError("message above the limit")
        mask_size = 4 if self._masked else 0
        end = offset + mask_size + length
        if len(buffer) < end:
            return None
        payload = bytes(buffer[offset + mask_size : end])
        if self._masked:
            payload = _mask(payload, bytes(buffer[offset : offset + 4]))
        del buffer[:end]
        return opcode, bool(first & _FIN), payload

    def _on_frame(self, opcode: Opcode, fin: bool, payload: bytes) -> Event | None:
        match opcode:
            case Opcode.PING:
                return Ping(payload)
            case Opcode.PONG:
                return None
            case Opcode.CLOSE:
                return Closed(_U16.unpack_from(payload)[0] if len(payload) >= 2 else 1005)
            case Opcode.CONTINUATION:
                if self._opcode is None:
                    raise WebSocketError("continuation of nothing")
            case Opcode.TEXT | Opcode.BINARY:
                if self._opcode is not None:
                    raise WebSocketError("a message inside of a message")
                self._opcode = opcode
        self._parts.append(payload)
        self._size += len(payload)
        if not fin:
            return None
        message = Message(b"".join(self._parts), self._opcode is Opcode.TEXT)
        self._parts, self._size, self._opcode = [], 0, None
        return message


def encode_frame(opcode: Opcode, data: bytes, *, mask: bytes = b"") -> bytes:
    """One frame that is a whole message. ``mask``: a client's four random bytes."""
    masked = _MASKED if mask else 0
    size = len(data)
    if size < 126:
        head = bytes([_FIN | opcode, masked | size])
    elif size < 1 << 16:
        head = bytes([_FIN | opcode, masked | 126]) + _U16.pack(size)
    else:
        head = bytes([_FIN | opcode, masked | 127]) + _U64.pack(size)
    return head + (mask + _mask(data, mask) if mask else data)


def encode_close(code: int, *, mask: bytes = b"") -> bytes:
    """A close frame."""
    return encode_frame(Opcode.CLOSE, _U16.pack(code), mask=mask)


def _mask(data: bytes, key: bytes) -> bytes:
    """XOR with the key, over and over; as one large number, since a loop over bytes is slow."""
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
