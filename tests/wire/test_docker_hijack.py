"""The splitter: hijacking requests pass whole and alone, however their bytes arrive."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.docker_hijack import MAX_HEAD_BYTES, HijackSplitter

ATTACH = (
    b"POST /v1.51/containers/abc/attach?stream=1 HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\n\r\n",
    b"POST /containers/abc/attach HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
)
EXEC = (
    b"POST /exec/1f/start HTTP/1.1\r\nContent-Length: 13\r\n\r\n" + b'{"Tty":false}',
    b"POST /v1.24/exec/1f/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'd\r\n{"Tty":false}\r\n0\r\n\r\n',
)
OTHERS = (
    b"GET /_ping HTTP/1.1\r\n\r\n",
    b"POST /containers/create HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /containers/abc/attachments HTTP/1.1\r\n\r\n",
    b"POST /containers/a/b/attach HTTP/1.1\r\n\r\n",
    b"GET /containers/abc/attach/ws HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01 not HTTP at all",
)


def feed(splitter: HijackSplitter, data: bytes, cuts: list[int]) -> bytes:
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return b"".join(
        splitter.receive_data(data[start:end]) for start, end in itertools.pairwise(borders)
    )


@pytest.mark.parametrize("request_bytes", [*ATTACH, *EXEC])
@given(cuts=st.lists(st.integers(1, 150)), tail=st.binary(max_size=40))
def test_any_split_keeps_the_stream_apart(
    request_bytes: bytes, cuts: list[int], tail: bytes
) -> None:
    splitter = HijackSplitter()
    assert feed(splitter, request_bytes + tail, cuts) == request_bytes
    assert splitter.holding
    assert splitter.held_bytes == len(tail)
    assert splitter.take_held() == tail


@pytest.mark.parametrize("request_bytes", OTHERS)
@given(cuts=st.lists(st.integers(1, 80)), tail=st.binary(max_size=40))
def test_other_requests_pass_untouched(request_bytes: bytes, cuts: list[int], tail: bytes) -> None:
    splitter = HijackSplitter()
    assert feed(splitter, request_bytes + tail, cuts) == request_bytes + tail
    assert not splitter.holding


def test_inside_another_request_nothing_is_held() -> None:
    splitter = HijackSplitter()
    head = b"POST /images/load HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"
    assert splitter.receive_data(head) == head
    assert splitter.receive_data(ATTACH[0]) == ATTACH[0]
    assert splitter.request_done() == b""
    assert splitter.receive_data(ATTACH[0] + b"raw") == ATTACH[0]
    assert splitter.take_held() == b"raw"


def test_a_refused_hijack_gives_the_rest_back() -> None:
    splitter = HijackSplitter()
    assert splitter.receive_data(ATTACH[0] + OTHERS[0]) == ATTACH[0]
    assert splitter.request_done() == OTHERS[0]
    assert not splitter.holding


def test_endless_heads_are_left_to_the_parser() -> None:
    splitter = HijackSplitter()
    data = b"POST /" + b"x" * MAX_HEAD_BYTES
    assert splitter.receive_data(data) == data
