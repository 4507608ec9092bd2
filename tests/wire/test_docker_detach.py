"""Detach keys: parsed as Docker's, found however the typing is split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.docker_detach import DetachScanner, parse_detach_keys


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", b"\x10\x11"),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-a", b"\x01"),
        ("a,b", b"ab"),
        ("DEL,q", b"\x7fq"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
    ],
)
def test_parse(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-AB", "ctrl-!", "word", "a,,b"])
def test_unknown_keys_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="Unknown character"):
        parse_detach_keys(text)


def feed(scanner: DetachScanner, pieces: list[bytes]) -> tuple[bytes, bool]:
    out = b""
    for piece in pieces:
        passed, detached = scanner.receive_data(piece)
        out += passed
        if detached:
            return out, True
    return out + scanner.receive_eof(), False


def test_sequence_split_over_reads() -> None:
    assert feed(DetachScanner(b"\x10\x11"), [b"ls\x10", b"\x11rest"]) == (b"ls", True)


def test_a_begun_sequence_is_passed_on_when_it_is_none() -> None:
    assert feed(DetachScanner(b"\x10\x11"), [b"\x10", b"x\x10\x10", b"\x11"]) == (
        b"\x10x\x10",
        True,
    )
    assert feed(DetachScanner(b"\x10\x11"), [b"\x10"]) == (b"\x10", False)


@given(st.lists(st.binary(max_size=5)))
def test_without_the_sequence_everything_passes(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    out, detached = feed(DetachScanner(b"\xfe\xff"), pieces)
    assert detached == (b"\xfe\xff" in data)
    if not detached:
        assert out == data
    else:
        assert out == data[: data.index(b"\xfe\xff")]
