"""WebSocket frames, both ends."""

import random

import pytest

from sharedrt.wire.websocket import (
    Closed,
    Event,
    Message,
    MessageDecoder,
    Opcode,
    Ping,
    WebSocketError,
    accept_key,
    encode_close,
    encode_frame,
)

KEY = b"\x37\xfa\x21\x3d"


def test_accept_key_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_frames_of_the_rfc() -> None:
    """Section 5.7."""
    hello = Message(b"Hello", True)
    assert encode_frame(Opcode.TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    masked = bytes.fromhex("818537fa213d7f9f4d5158")
    assert encode_frame(Opcode.TEXT, b"Hello", mask=KEY) == masked
    assert list(MessageDecoder(masked=True).receive_data(masked)) == [hello]
    fragments = bytes.fromhex("010348656c80026c6f")
    assert list(MessageDecoder(masked=False).receive_data(fragments)) == [hello]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 200_001])
def test_sizes(size: int) -> None:
    data = random.Random(size).randbytes(size)
    frame = encode_frame(Opcode.BINARY, data, mask=KEY)
    assert list(MessageDecoder(masked=True).receive_data(frame)) == [Message(data, False)]


@pytest.mark.parametrize("seed", range(20))
def test_any_split_gives_the_same(seed: int) -> None:
    rng = random.Random(seed)
    first = encode_frame(Opcode.BINARY, b"a" * 300, mask=KEY)
    data = first + encode_frame(Opcode.PING, b"p", mask=KEY) + encode_close(1000, mask=KEY)
    decoder, events, at = MessageDecoder(masked=True), list[Event](), 0
    while at < len(data):
        step = rng.choice((1, 2, 3, 50))
        events += decoder.receive_data(data[at : at + step])
        at += step
    decoder.receive_eof()
    assert events == [Message(b"a" * 300, False), Ping(b"p"), Closed(1000)]


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(Opcode.BINARY, b"unmasked"),
        bytes.fromhex("c18000000000"),
        bytes.fromhex("838000000000"),
        bytes.fromhex("098000000000"),
        bytes.fromhex("808000000000"),
        bytes.fromhex("82ff7fffffffffffffff"),
        bytes.fromhex("028000000000") + bytes.fromhex("828000000000"),
    ],
)
def test_what_breaks_the_protocol(data: bytes) -> None:
    with pytest.raises(WebSocketError):
        list(MessageDecoder(masked=True).receive_data(data))


def test_a_cut_message_is_an_error() -> None:
    decoder = MessageDecoder(masked=True)
    assert list(decoder.receive_data(encode_frame(Opcode.BINARY, b"abc", mask=KEY)[:-1])) == []
    with pytest.raises(WebSocketError):
        decoder.receive_eof()


@pytest.mark.parametrize("seed", range(200))
def test_garbage_raises_nothing_but_its_error(seed: int) -> None:
    data = random.Random(seed).randbytes(200)
    try:
        list(MessageDecoder(masked=True).receive_data(data))
    except WebSocketError:
        return
