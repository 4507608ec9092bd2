"""Heads of upgrade requests."""

import time

import pytest

from sharedrt.wire.http_head import HeadDecoder, HeadError, response_head

HEAD = (
    b"POST /exec/tok?x=1 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade:SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
    b"X-Stream-Protocol-Version: channel.k8s.io\r\n\r\n"
)


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_any_split(step: int) -> None:
    decoder, found = HeadDecoder(), None
    data = HEAD + b"rest"
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        found = decoder.receive_data(piece) if found is None else (found[0], found[1] + piece)
    assert found is not None
    head, rest = found
    assert (head.method, head.target, rest) == ("POST", "/exec/tok?x=1", b"rest")
    assert head.tokens("connection") == ["keep-alive", "Upgrade"]
    assert head.first("upgrade") == "SPDY/3.1"
    versions = head.tokens("x-stream-protocol-version")
    assert versions == ["v4.channel.k8s.io", "channel.k8s.io"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/2\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * 70_000,
    ],
)
def test_what_is_no_head(data: bytes) -> None:
    with pytest.raises(HeadError):
        HeadDecoder().receive_data(data)


def test_blanks_cost_no_more_than_letters() -> None:
    """60 kB of them took half a minute, and anybody on the host can send them to the streaming door."""
    blanks = b" " * 60_000
    began = time.process_time()
    found = HeadDecoder().receive_data(b"GET / HTTP/1.1\r\nx: a" + blanks + b"b\r\n\r\n")
    assert time.process_time() - began < 2
    assert found is not None
    assert found[0].first("x") == "a" + blanks.decode() + "b"


def test_response() -> None:
    assert response_head("101 Switching Protocols", {"Upgrade": "x"}) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"
    )
