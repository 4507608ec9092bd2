"""Docker's multiplexed standard streams: bytes in, frames out, and back.

Spec: Engine API, ``POST /containers/{id}/attach``, "Stream format". One frame::

    u8 stream (0 stdin, 1 stdout, 2 stderr, 3 error of the engine) | 3 zero bytes | u32 big-endian length | payload
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

_HEADER: Final = Struct(">B3xL")
HEADER_BYTES: Final = _HEADER.size
SYSTEM_ERROR: Final = 3
_STREAMS: Final = 4


class FrameError(ValueError):
    """The bytes are no frames: an unknown stream number, a payload above the limit, or a cut frame."""


@dataclass(frozen=True, slots=True)
class StreamFrame:
    stream: int
    payload: bytes


class _Headers(dict[int, bytes]):
    """Frame headers of one stream by payload length, made when first asked for.

    Log lines of a container repeat a few lengths, and a look-up takes a third of the packing.
    """

    _REMEMBERED = 4096

    def __init__(self, stream: int) -> None:
        super().__init__()
        self._stream = stream

    def __missing__(self, length: int) -> bytes:
        header = _HEADER.pack(self._stream, length)
        if length <= self._REMEMBERED:
            self[length] = header
        return header


HEADERS: Final[tuple[Mapping[int, bytes], ...]] = tuple(
    _Headers(stream) for stream in range(_STREAMS)
)
"""``HEADERS[stream][length]``: the header of such a frame."""


def encode_frame(stream: int, payload: bytes) -> bytes:
    """One frame."""
    return HEADERS[stream][len(payload)] + payload


def encode_frames(frames: Iterable[tuple[int, bytes]]) -> bytes:
    """Many (stream, payload) at once."""
    parts: list[bytes] = []
    add, headers = parts.append, HEADERS
    for stream, payload in frames:
        add(headers[stream][len(payload)])
        add(payload)
    return b"".join(parts)


class StreamDecoder:
    """Bytes of a multiplexed stream in any pieces; whole frames out.

    Args:
        max_payload: longest payload accepted, in bytes.
    """

    def __init__(self, *, max_payload: int = 1 << 24) -> None:
        self._max_payload = max_payload
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> list[StreamFrame]:
        """Frames completed by ``data``. Raises FrameError."""
        self._buffer += data
        frames: list[StreamFrame] = []
        position = 0
        while len(self._buffer) - position >= HEADER_BYTES:
            stream, length = _HEADER.unpack_from(self._buffer, position)
            if stream >= _STREAMS:
                raise FrameError(f"unknown stream {stream}")
            if length > self._max_payload:
                raise FrameError(f"payload of {length} bytes is above {self._max_payload}")
            end = position + HEADER_BYTES + length
            if end > len(self._buffer):
                break
            frames.append(StreamFrame(stream, bytes(self._buffer[position + HEADER_BYTES : end])))
            position = end
        del self._buffer[:position]
        return frames

    def receive_eof(self) -> None:
        """Raises FrameError if the last frame was cut short."""
        if self._buffer:
            raise FrameError(f"the stream ended inside a frame, after {len(self._buffer)} bytes")
