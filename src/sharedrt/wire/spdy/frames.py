"""SPDY/3.1 frames (spec section 2.2).

    control   1 | version 15 | type 16 | flags 8 | length 24 | payload
    data      0 | stream id 31         | flags 8 | length 24 | payload

A data frame's payload is given on as it comes, so a frame of 16 MiB needs no buffer of that size.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

VERSION: Final = 3
MAX_CONTROL_BYTES: Final = 64 << 10
MAX_DATA_BYTES: Final = 0xFFFFFF
FLAG_FIN: Final = 0x01

_CONTROL_BIT: Final = 0x80000000
_HEAD: Final = struct.Struct(">II")


class FrameError(Exception):
    """The bytes are no SPDY/3.1, or end inside of a frame: the connection cannot go on."""


class FrameType(IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetCode(IntEnum):
    """RST_STREAM status codes."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6


@dataclass(frozen=True, slots=True)
class ControlFrame:
    """``type`` may be one that this version does not know; such frames are to be ignored."""

    type: int
    flags: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class DataPiece:
    """A part of a data frame, or all of it. ``fin`` only comes with the frame's last part."""

    stream_id: int
    data: bytes
    fin: bool


class FrameDecoder:
    """Bytes in, frames out; any split of the bytes gives the same data."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream_id = 0
        self._left = 0
        self._fin = False
        self._in_data = False

    def receive_data(self, data: bytes) -> Iterator[ControlFrame | DataPiece]:
        """Raises FrameError."""
        self._buffer += data
        while True:
            frame = self._data_piece() if self._in_data else self._next_head()
            if frame is None:
                return
            yield frame

    def receive_eof(self) -> None:
        """Raises FrameError when a frame was cut short."""
        if self._buffer or self._in_data:
            raise FrameError("the connection ended inside of a frame")

    def _next_head(self) -> ControlFrame | DataPiece | None:
        if len(self._buffer) < _HEAD.size:
            return None
        first, second = _HEAD.unpack_from(self._buffer)
        flags, length = second >> 24, second & 0xFFFFFF
        if not first & _CONTROL_BIT:
            del self._buffer[: _HEAD.size]
            self._stream_id, self._left, self._fin = first, length, bool(flags & FLAG_FIN)
            self._in_data = True
            return self._data_piece()
        if (first & ~_CONTROL_BIT) >> 16 != VERSION:
            raise FrameError("not a SPDY/3.1 frame")
        if length > MAX_CONTROL_BYTES:
            raise FrameError(f"control frame of {length} bytes is above the limit")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEAD.size : end])
        del self._buffer[:end]
        return ControlFrame(first & 0xFFFF, flags, payload)

    def _data_piece(self) -> DataPiece | None:
        if self._left and not self._buffer:
            return None
        data = bytes(self._buffer[: self._left])
        del self._buffer[: len(data)]
        self._left -= len(data)
        self._in_data = self._left > 0
        return DataPiece(self._stream_id, data, self._fin and not self._in_data)


def control_frame(type: FrameType, flags: int, payload: bytes) -> bytes:
    head = _HEAD.pack(_CONTROL_BIT | VERSION << 16 | type, flags << 24 | len(payload))
    return head + payload


def data_frame(stream_id: int, data: bytes, *, fin: bool) -> bytes:
    """``data`` of at most 16 MiB - 1."""
    return _HEAD.pack(stream_id, (FLAG_FIN if fin else 0) << 24 | len(data)) + data
