"""SPDY/3.1: two ends talking, any split of the bytes, hostile bytes."""

import random
import zlib

import pytest

from sharedrt.wire.spdy import (
    DataReceived,
    Event,
    FrameError,
    GoAwayReceived,
    ResetCode,
    SpdyConnection,
    StreamAccepted,
    StreamOpened,
    StreamReset,
)
from sharedrt.wire.spdy.frames import FrameType, control_frame, data_frame
from sharedrt.wire.spdy.headers import DICTIONARY, HeaderDecoder, HeaderEncoder

RECORDED_SYN_STREAM = bytes.fromhex(
    # The start of a zlib stream with SPDY/3's dictionary carries its Adler-32.
    "78bbe3c6a7c2"
)


def test_dictionary_is_the_specs() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2
    assert HeaderEncoder().encode({"streamtype": "error"}).startswith(RECORDED_SYN_STREAM)


def test_a_stream_there_and_back() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection(client=False)
    stream = client.open({"StreamType": "stdin", "port": "80"})
    assert stream == 1
    assert server.receive_data(client.data_to_send()) == [
        StreamOpened(1, {"streamtype": "stdin", "port": "80"}, False)
    ]
    server.accept(1)
    server.send(1, b"hello")
    server.send(1, b"", fin=True)
    assert client.receive_data(server.data_to_send()) == [
        StreamAccepted(1, {}),
        DataReceived(1, b"hello", False),
        DataReceived(1, b"", True),
    ]
    client.send(1, b"bye", fin=True)
    assert server.receive_data(client.data_to_send()) == [DataReceived(1, b"bye", True)]
    assert (client.open_streams, server.open_streams) == (0, 0)
    assert not server.send(1, b"late")
    assert server.data_to_send() == b""


def test_pings_are_answered_and_answers_are_not() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection(client=False)
    client.ping(1)
    assert server.receive_data(client.data_to_send()) == []
    answer = server.data_to_send()
    assert answer == control_frame(FrameType.PING, 0, b"\0\0\0\1")
    assert client.receive_data(answer) == []
    assert client.data_to_send() == b""


def test_reset_and_go_away() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection(client=False)
    client.open({})
    server.receive_data(client.data_to_send())
    server.reset(1, ResetCode.CANCEL)
    server.go_away()
    assert client.receive_data(server.data_to_send()) == [
        StreamReset(1, ResetCode.CANCEL),
        GoAwayReceived(),
    ]
    assert client.open_streams == 0


def test_data_for_a_stream_that_is_over_is_passed_over() -> None:
    server = SpdyConnection(client=False)
    assert server.receive_data(data_frame(7, b"x" * 100, fin=False)) == []


def test_unknown_control_frames_are_ignored() -> None:
    server = SpdyConnection(client=False)
    unknown = (0x80030000 | 99).to_bytes(4, "big") + (4).to_bytes(4, "big") + b"abcd"
    window = control_frame(FrameType.WINDOW_UPDATE, 0, b"\0" * 8)
    settings = control_frame(FrameType.SETTINGS, 0, b"\0" * 4)
    assert server.receive_data(unknown + window + settings) == []


def test_streams_are_bounded() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection(client=False)
    for _ in range(1030):
        client.open({"a": "b"})
    opened = server.receive_data(client.data_to_send())
    assert len(opened) == 1024
    resets = client.receive_data(server.data_to_send())
    assert resets == [StreamReset(2 * n + 1, ResetCode.REFUSED_STREAM) for n in range(1024, 1030)]


def conversation() -> bytes:
    client = SpdyConnection(client=True)
    for kind in ("error", "stdout", "stdin"):
        client.open({"streamtype": kind})
    client.ping(1)
    client.send(5, b"x" * 3000)
    client.send(5, b"y" * 10, fin=True)
    client.reset(3, ResetCode.CANCEL)
    client.go_away()
    return client.data_to_send()


def joined(events: list[Event]) -> list[Event]:
    """Neighbouring pieces of data of one stream as one."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if (
            isinstance(event, DataReceived)
            and isinstance(last, DataReceived)
            and last.stream_id == event.stream_id
        ):
            out[-1] = DataReceived(event.stream_id, last.data + event.data, event.fin)
        else:
            out.append(event)
    return out


@pytest.mark.parametrize("seed", range(30))
def test_any_split_gives_the_same_events(seed: int) -> None:
    data = conversation()
    whole = joined(SpdyConnection(client=False).receive_data(data))
    server, events, rng, at = SpdyConnection(client=False), list[Event](), random.Random(seed), 0
    while at < len(data):
        step = rng.choice((1, 2, 7, 8, 9, 100, 1000))
        events += server.receive_data(data[at : at + step])
        at += step
    server.receive_eof()
    assert joined(events) == whole


def test_a_cut_frame_is_an_error() -> None:
    data = conversation()
    for cut in (1, 7, len(data) - 1):
        server = SpdyConnection(client=False)
        server.receive_data(data[:cut])
        with pytest.raises(FrameError):
            server.receive_eof()


@pytest.mark.parametrize("seed", range(200))
def test_garbage_raises_nothing_but_frame_errors(seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(conversation())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    server = SpdyConnection(client=False)
    try:
        server.receive_data(bytes(data))
        server.receive_eof()
    except FrameError:
        return


@pytest.mark.parametrize(
    "frame",
    [
        b"\x80\x02" + b"\0" * 10,
        control_frame(FrameType.SYN_STREAM, 0, b"short"),
        control_frame(FrameType.SYN_STREAM, 0, b"\0\0\0\1" + b"\0" * 6 + b"not zlib"),
        control_frame(
            FrameType.SYN_STREAM, 0, b"\0\0\0\2" + b"\0" * 6 + HeaderEncoder().encode({})
        ),
        control_frame(FrameType.RST_STREAM, 0, b""),
        b"\x80\x03\0\1\0\xff\xff\xff",
    ],
)
def test_what_cannot_go_on(frame: bytes) -> None:
    with pytest.raises(FrameError):
        SpdyConnection(client=False).receive_data(frame)


def test_header_bomb_is_refused() -> None:
    bomb = HeaderEncoder().encode({"a": "x" * (1 << 20)})
    assert len(bomb) < 2000
    with pytest.raises(FrameError, match="64 KiB"):
        HeaderDecoder().decode(bomb)


def test_large_data_frame_needs_no_buffer_of_its_size() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection(client=False)
    client.open({})
    server.receive_data(client.data_to_send())
    data = data_frame(1, b"z" * (1 << 20), fin=True)
    (piece,) = server.receive_data(data[:1000])
    assert isinstance(piece, DataReceived)
    assert len(piece.data) == 992
    assert not piece.fin
