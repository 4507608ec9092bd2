"""One end of a SPDY/3.1 connection, and the streams on it."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from sharedrt.wire.spdy.frames import (
    FLAG_FIN,
    ControlFrame,
    DataPiece,
    FrameDecoder,
    FrameError,
    FrameType,
    ResetCode,
    control_frame,
    data_frame,
)
from sharedrt.wire.spdy.headers import HeaderDecoder, HeaderEncoder

MAX_STREAMS: Final = 1024
_ID: Final = 0x7FFFFFFF
_U32: Final = struct.Struct(">I")
_TWO_U32: Final = struct.Struct(">II")
_SYN_STREAM: Final = struct.Struct(">IIH")


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream; answer with ``accept`` or ``reset``."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamAccepted:
    """The peer accepted a stream of ours."""

    stream_id: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    stream_id: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DataReceived:
    """``fin``: the peer sends no more on this stream."""

    stream_id: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream is over, both ways."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer opens no more streams."""


Event: TypeAlias = (
    StreamOpened | StreamAccepted | HeadersReceived | DataReceived | StreamReset | GoAwayReceived
)


@dataclass(slots=True)
class _Stream:
    we_ended: bool = False
    they_ended: bool = False


class SpdyConnection:
    """Bytes in, events out; orders in, bytes out by :meth:`data_to_send`.

    Args:
        client: clients' streams have odd ids, servers' even ones.
    """

    def __init__(self, *, client: bool) -> None:
        self._decoder = FrameDecoder()
        self._headers_in, self._headers_out = HeaderDecoder(), HeaderEncoder()
        self._streams: dict[int, _Stream] = {}
        self._parity = 1 if client else 0
        self._next_id = 1 if client else 2
        self._last_peer_id = 0
        self._out: list[bytes] = []

    # ------------------------------------------------------------ in

    def receive_data(self, data: bytes) -> list[Event]:
        """Raises FrameError: the connection cannot go on."""
        events: list[Event] = []
        for frame in self._decoder.receive_data(data):
            match frame:
                case DataPiece():
                    events += self._on_data(frame)
                case ControlFrame():
                    events += self._on_control(frame)
                case _:
                    assert_never(frame)
        return events

    def receive_eof(self) -> None:
        """Raises FrameError when a frame was cut short."""
        self._decoder.receive_eof()

    def _on_data(self, piece: DataPiece) -> Iterator[Event]:
        stream = self._streams.get(piece.stream_id)
        if stream is None or stream.they_ended:
            # Of one that we have just ended, the peer may not know yet.
            return
        stream.they_ended = piece.fin
        if piece.data or piece.fin:
            yield DataReceived(piece.stream_id, piece.data, piece.fin)
        self._forget_if_over(piece.stream_id)

    def _on_control(self, frame: ControlFrame) -> Iterator[Event]:
        match frame.type:
            case FrameType.SYN_STREAM:
                yield from self._on_syn_stream(frame)
            case FrameType.SYN_REPLY:
                (stream_id,) = _unpack(_U32, frame.payload)
                headers = self._headers_in.decode(frame.payload[_U32.size :])
                yield StreamAccepted(stream_id & _ID, headers)
                if frame.flags & FLAG_FIN:
                    yield from self._on_data(DataPiece(stream_id & _ID, b"", True))
            case FrameType.HEADERS:
                (stream_id,) = _unpack(_U32, frame.payload)
                headers = self._headers_in.decode(frame.payload[_U32.size :])
                yield HeadersReceived(stream_id & _ID, headers)
                if frame.flags & FLAG_FIN:
                    yield from self._on_data(DataPiece(stream_id & _ID, b"", True))
            case FrameType.RST_STREAM:
                stream_id, code = _unpack(_TWO_U32, frame.payload)
                if self._streams.pop(stream_id & _ID, None) is not None:
                    yield StreamReset(stream_id & _ID, code)
            case FrameType.PING:
                (ping_id,) = _unpack(_U32, frame.payload)
                if ping_id % 2 != self._parity:
                    self._out.append(control_frame(FrameType.PING, 0, frame.payload[: _U32.size]))
            case FrameType.GOAWAY:
                yield GoAwayReceived()
            case _:
                pass  # SETTINGS and WINDOW_UPDATE, and unknown ones, which are to be ignored.

    def _on_syn_stream(self, frame: ControlFrame) -> Iterator[Event]:
        stream_id = _unpack(_SYN_STREAM, frame.payload)[0] & _ID
        headers = self._headers_in.decode(frame.payload[_SYN_STREAM.size :])
        if stream_id % 2 == self._parity or stream_id <= self._last_peer_id:
            raise FrameError(f"stream id {stream_id} is not the peer's next")
        self._last_peer_id = stream_id
        if len(self._streams) >= MAX_STREAMS:
            self._reset(stream_id, ResetCode.REFUSED_STREAM)
            return
        fin = bool(frame.flags & FLAG_FIN)
        self._streams[stream_id] = _Stream(they_ended=fin)
        yield StreamOpened(stream_id, headers, fin)

    # ------------------------------------------------------------ out

    def open(self, headers: Mapping[str, str]) -> int:
        """Open a stream; its id."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = _Stream()
        payload = _SYN_STREAM.pack(stream_id, 0, 0) + self._headers_out.encode(headers)
        self._out.append(control_frame(FrameType.SYN_STREAM, 0, payload))
        return stream_id

    def accept(self, stream_id: int, headers: Mapping[str, str] | None = None) -> None:
        """Answer the peer's SYN_STREAM."""
        payload = _U32.pack(stream_id) + self._headers_out.encode(headers or {})
        self._out.append(control_frame(FrameType.SYN_REPLY, 0, payload))

    def send(self, stream_id: int, data: bytes, *, fin: bool = False) -> bool:
        """Data on a stream; False when the stream is over, and nothing was sent."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.we_ended:
            return False
        if data or fin:
            self._out.append(data_frame(stream_id, data, fin=fin))
        stream.we_ended = fin
        self._forget_if_over(stream_id)
        return True

    def reset(self, stream_id: int, code: ResetCode) -> None:
        """End a stream both ways at once."""
        if self._streams.pop(stream_id, None) is not None:
            self._reset(stream_id, code)

    def ping(self, number: int) -> None:
        """Ask for an answer; ``number`` of our own parity."""
        self._out.append(control_frame(FrameType.PING, 0, _U32.pack(number)))

    def go_away(self) -> None:
        """We take no more streams."""
        payload = _TWO_U32.pack(self._last_peer_id, 0)
        self._out.append(control_frame(FrameType.GOAWAY, 0, payload))

    def data_to_send(self) -> bytes:
        """What the orders so far have to put on the wire."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def _reset(self, stream_id: int, code: ResetCode) -> None:
        payload = _TWO_U32.pack(stream_id, code)
        self._out.append(control_frame(FrameType.RST_STREAM, 0, payload))

    def _forget_if_over(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        if stream.we_ended and stream.they_ended:
            del self._streams[stream_id]


def _unpack(layout: struct.Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) < layout.size:
        raise FrameError("control frame: cut short")
    return layout.unpack_from(payload)
