"""conmon's protocols: any split gives the same messages, garbage only the documented error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.stdio import StdStream
from sharedrt.wire.conmon import (
    MAX_INPUT_PACKET,
    ConmonProtocolError,
    SyncDecoder,
    SyncMessage,
    decode_output,
    parse_exit_file,
    reopen_log_line,
    resize_line,
    split_input,
)

messages = st.builds(SyncMessage, st.integers(-300, 1 << 22), st.text(max_size=50))


@given(st.lists(messages, max_size=4), st.data())
def test_any_split_gives_the_same_messages(
    expected: list[SyncMessage], data: st.DataObject
) -> None:
    wire = b"".join(
        json.dumps({"data": m.data} | ({"message": m.message} if m.message else {})).encode()
        + b"\n"
        for m in expected
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    decoder = SyncDecoder()
    got: list[SyncMessage] = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        got += decoder.receive_data(wire[start:end])
    decoder.receive_eof()
    assert got == expected


@given(st.binary(max_size=200))
def test_garbage_on_the_sync_pipe_raises_only_the_documented_error(garbage: bytes) -> None:
    decoder = SyncDecoder()
    try:
        decoder.receive_data(garbage)
        decoder.receive_eof()
    except ConmonProtocolError:
        pass


def test_a_cut_line_is_an_error() -> None:
    decoder = SyncDecoder()
    assert decoder.receive_data(b'{"data": 7}\n{"da') == [SyncMessage(7)]
    with pytest.raises(ConmonProtocolError):
        decoder.receive_eof()


def test_raw_control_characters_in_a_message_are_kept() -> None:
    assert SyncDecoder().receive_data(b'{"data": -1, "message": "a\tb\xff"}\n') == [
        SyncMessage(-1, "a\tb\ufffd")
    ]


def test_a_boolean_is_no_number() -> None:
    with pytest.raises(ConmonProtocolError):
        SyncDecoder().receive_data(b'{"data": true}\n')


def test_an_endless_line_is_refused() -> None:
    with pytest.raises(ConmonProtocolError):
        SyncDecoder().receive_data(b"x" * 70000)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [(b"\x02hi", (StdStream.STDOUT, b"hi")), (b"\x03no", (StdStream.STDERR, b"no"))],
)
def test_output_packets(packet: bytes, expected: tuple[StdStream, bytes]) -> None:
    assert decode_output(packet) == expected


@pytest.mark.parametrize("packet", [b"", b"\x00x", b"\x01x", b"\x04x", b"\x02" + b"x" * 9000])
def test_wrong_output_packets(packet: bytes) -> None:
    with pytest.raises(ConmonProtocolError):
        decode_output(packet)


@given(st.binary(max_size=40000))
def test_input_is_cut_and_nothing_is_lost(data: bytes) -> None:
    packets = split_input(data)
    assert b"".join(packets) == data
    assert all(0 < len(p) <= MAX_INPUT_PACKET for p in packets)


def test_control_lines_fill_one_read_of_conmon() -> None:
    assert resize_line(80, 24).split() == [b"1", b"24", b"80"]
    assert resize_line(5000, -3).split() == [b"1", b"0", b"1000"]
    assert reopen_log_line().split() == [b"2", b"0", b"0"]
    for line in (resize_line(80, 24), reopen_log_line()):
        assert len(line) == 199
        assert line.endswith(b"\n")


def test_exit_file() -> None:
    assert parse_exit_file(b"137") == 137
    assert parse_exit_file(b"-1\n") == -1
    for wrong in (b"", b"x", b"\xff"):
        with pytest.raises(ConmonProtocolError):
            parse_exit_file(wrong)
