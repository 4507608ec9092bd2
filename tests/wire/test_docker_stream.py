"""Docker's multiplexed stream: any split of the bytes gives the same frames."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.docker_stream import (
    FrameError,
    StreamDecoder,
    StreamFrame,
    encode_frame,
    encode_frames,
)

frames = st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=300)), max_size=20)


def test_layout() -> None:
    assert encode_frame(2, b"hi") == b"\x02\x00\x00\x00\x00\x00\x00\x02hi"


@given(frames, st.lists(st.integers(0, 2000)))
def test_any_split_gives_the_same_frames(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = encode_frames(sent)
    assert data == b"".join(encode_frame(*frame) for frame in sent)
    decoder, got = StreamDecoder(), []
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(borders):
        got += decoder.receive_data(data[start:end])
    decoder.receive_eof()
    assert got == [StreamFrame(*frame) for frame in sent]


def test_a_cut_frame_is_an_error() -> None:
    decoder = StreamDecoder()
    assert decoder.receive_data(encode_frame(1, b"whole") + b"\x01\x00\x00") == [
        StreamFrame(1, b"whole")
    ]
    with pytest.raises(FrameError, match="inside a frame"):
        decoder.receive_eof()


@given(st.binary(max_size=200))
def test_garbage_raises_only_frame_errors(data: bytes) -> None:
    decoder = StreamDecoder(max_payload=1000)
    try:
        decoder.receive_data(data)
        decoder.receive_eof()
    except FrameError:
        pass


def test_bounds() -> None:
    with pytest.raises(FrameError, match="unknown stream 7"):
        StreamDecoder().receive_data(b"\x07" + bytes(7))
    with pytest.raises(FrameError, match="above 10"):
        StreamDecoder(max_payload=10).receive_data(encode_frame(1, bytes(11)))
