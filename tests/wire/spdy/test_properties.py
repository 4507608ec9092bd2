"""SPDY/3.1 framing: what holds for any frames, headers, conversations, splits and garbage."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.spdy import (
    DataReceived,
    Event,
    FrameError,
    GoAwayReceived,
    ResetCode,
    SpdyConnection,
    StreamOpened,
    StreamReset,
)
from sharedrt.wire.spdy.frames import (
    ControlFrame,
    DataPiece,
    FrameDecoder,
    FrameType,
    control_frame,
    data_frame,
)
from sharedrt.wire.spdy.headers import HeaderDecoder, HeaderEncoder
from tests.wire.spdy.test_connection import joined

_Frame: TypeAlias = ControlFrame | DataPiece
_control = st.builds(
    ControlFrame, st.sampled_from(FrameType), st.integers(0, 255), st.binary(max_size=80)
)
_data = st.builds(DataPiece, st.integers(0, 2**31 - 1), st.binary(max_size=300), st.booleans())
_frames = st.lists(_control | _data, max_size=12)
_name = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
_value = st.text(st.characters(codec="latin-1", exclude_characters="\0"), max_size=40)
_headers = st.dictionaries(_name, _value, max_size=6)
_cuts = st.lists(st.integers(0, 4000), max_size=8)


def encoded(frame: _Frame) -> bytes:
    if isinstance(frame, ControlFrame):
        return control_frame(FrameType(frame.type), frame.flags, frame.payload)
    return data_frame(frame.stream_id, frame.data, fin=frame.fin)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """``data`` cut at those places."""
    at = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:end] for start, end in pairwise(at)]


def bytes_of(frames: Sequence[_Frame]) -> list[tuple[int, bytes]]:
    """Data by stream, in its order."""
    found: dict[int, bytes] = {}
    for frame in frames:
        if isinstance(frame, DataPiece):
            found[frame.stream_id] = found.get(frame.stream_id, b"") + frame.data
    return sorted(found.items())


@given(_frames)
def test_frames_there_and_back(frames: list[_Frame]) -> None:
    decoder = FrameDecoder()
    assert list(decoder.receive_data(b"".join(map(encoded, frames)))) == frames
    decoder.receive_eof()


@given(_frames, _cuts)
def test_any_split_has_the_same_frames(frames: list[_Frame], cuts: list[int]) -> None:
    decoder, found = FrameDecoder(), list[_Frame]()
    for piece in pieces(b"".join(map(encoded, frames)), cuts):
        found += decoder.receive_data(piece)
    decoder.receive_eof()
    assert bytes_of(found) == bytes_of(frames)
    control = [frame for frame in found if isinstance(frame, ControlFrame)]
    assert control == [frame for frame in frames if isinstance(frame, ControlFrame)]
    ends = [f.stream_id for f in found if isinstance(f, DataPiece) and f.fin]
    assert ends == [f.stream_id for f in frames if isinstance(f, DataPiece) and f.fin]


@given(_frames.filter(bool), st.data())
def test_a_cut_frame_is_never_a_quiet_end(frames: list[_Frame], data: st.DataObject) -> None:
    last = len(encoded(frames[-1]))
    cut = data.draw(st.integers(1, last - 1))
    decoder = FrameDecoder()
    list(decoder.receive_data(b"".join(map(encoded, frames))[:-cut]))
    with pytest.raises(FrameError):
        decoder.receive_eof()


@given(st.lists(_headers, max_size=6))
def test_header_blocks_in_their_order(blocks: list[dict[str, str]]) -> None:
    """One zlib stream for all of a direction."""
    encoder, decoder = HeaderEncoder(), HeaderDecoder()
    assert [dict(decoder.decode(encoder.encode(block))) for block in blocks] == blocks


class _Talk:
    """A client that says something valid, and what the server is to hear."""

    def __init__(self) -> None:
        self.client = SpdyConnection(client=True)
        self.expected: list[Event] = []
        self._open: list[int] = []

    def say(self, what: str, headers: dict[str, str], data: bytes, number: int) -> None:
        if what == "open":
            stream = self.client.open(headers)
            self._open.append(stream)
            self.expected.append(StreamOpened(stream, headers, False))
        elif what == "ping":
            self.client.ping(2 * number + 1)
        elif what == "away":
            self.client.go_away()
            self.expected.append(GoAwayReceived())
        elif self._open:
            stream = self._open[number % len(self._open)]
            if what == "reset":
                self.client.reset(stream, ResetCode.CANCEL)
                self._open.remove(stream)
                self.expected.append(StreamReset(stream, ResetCode.CANCEL))
            else:
                fin = what == "end"
                self.client.send(stream, data, fin=fin)
                self.expected.append(DataReceived(stream, data, fin))
                if fin:
                    self._open.remove(stream)


def told(events: Iterable[Event]) -> list[Event]:
    """Pieces of data joined, and none without data or an end."""
    return joined([e for e in events if not isinstance(e, DataReceived) or e.data or e.fin])


_words = st.lists(
    st.tuples(
        st.sampled_from(("open", "open", "data", "data", "end", "reset", "ping", "away")),
        _headers,
        st.binary(max_size=200),
        st.integers(0, 50),
    ),
    max_size=30,
)


@given(_words, _cuts)
def test_a_conversation_is_heard_as_it_was_said(
    words: list[tuple[str, dict[str, str], bytes, int]], cuts: list[int]
) -> None:
    talk, server, heard = _Talk(), SpdyConnection(client=False), list[Event]()
    for word in words:
        talk.say(*word)
    for piece in pieces(talk.client.data_to_send(), cuts):
        heard += server.receive_data(piece)
    server.receive_eof()
    assert told(heard) == told(talk.expected)
    # Its own answers (of pings) are frames that the client takes.
    assert talk.client.receive_data(server.data_to_send()) == []


@given(_words, st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6))
def test_garbage_raises_frame_errors_alone(
    words: list[tuple[str, dict[str, str], bytes, int]], changes: list[tuple[int, int]]
) -> None:
    talk = _Talk()
    for word in words:
        talk.say(*word)
    data = bytearray(talk.client.data_to_send())
    for at, value in changes:
        if data:
            data[at % len(data)] = value
    server = SpdyConnection(client=False)
    try:
        server.receive_data(bytes(data))
        server.receive_eof()
    except FrameError:
        return
    assert len(server.data_to_send()) < 1 << 20


@given(st.binary(max_size=400))
def test_any_bytes_raise_frame_errors_alone(data: bytes) -> None:
    for client in (False, True):
        end = SpdyConnection(client=client)
        try:
            end.receive_data(data)
            end.receive_eof()
        except FrameError:
            continue
