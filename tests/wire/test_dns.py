"""DNS messages: what is written can be read, in any split, and no bytes do harm."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.dns import (
    AAAA,
    OUR_UDP_MAX,
    PTR,
    A,
    DnsError,
    Query,
    Question,
    Rcode,
    TcpMessages,
    address_record,
    answers_query,
    decode_name,
    encode_name,
    error_response,
    name_text,
    parse_name,
    parse_query,
    pointer_record,
    response,
    reverse_address,
    tcp_message,
    with_id,
)

labels = st.binary(min_size=1, max_size=63)
names = st.lists(labels, max_size=4).map(tuple).filter(lambda n: sum(len(x) + 1 for x in n) < 255)


def query_bytes(
    name: bytes, kind: int = A, *, id: int = 7, edns: int = 0, flags: int = 0x100
) -> bytes:
    data = struct.pack("!6H", id, flags, 1, 0, 0, 1 if edns else 0) + name
    data += struct.pack("!HH", kind, 1)
    return data + (b"\0" + struct.pack("!HHIH", 41, edns, 0, 0) if edns else b"")


@given(names, st.binary(max_size=20))
def test_a_name_survives(name: tuple[bytes, ...], before: bytes) -> None:
    encoded = encode_name(name)
    assert decode_name(before + encoded, len(before)) == (name, len(before) + len(encoded))


def test_compressed_names() -> None:
    data = b"\x03web\x03net\x00" + b"\x02db\xc0\x04" + b"\xc0\x09"
    assert decode_name(data, 9) == ((b"db", b"net"), 14)
    assert decode_name(data, 14) == ((b"db", b"net"), 16)


@pytest.mark.parametrize(
    "data",
    [
        b"\xc0\x00",
        b"\x01a\xc0\x00",
        b"\xc0\x02\xc0\x00",
        b"\xc0",
        b"\x05web",
        b"\x80a",
        b"",
        b"\x01a",
    ],
)
def test_names_that_lead_nowhere_or_in_circles(data: bytes) -> None:
    with pytest.raises(DnsError):
        decode_name(data, 0)


def test_a_long_chain_of_pointers_is_no_long_name() -> None:
    data = b"\x3f" + b"a" * 63 + b"\0"
    for _ in range(5):
        data += (
            b"\x3f"
            + b"b" * 63
            + struct.pack("!H", 0xC000 | (len(data) - 65 if len(data) > 65 else 0))
        )
    with pytest.raises(DnsError):
        decode_name(data, len(data) - 66)


@given(st.binary(max_size=100))
def test_garbage_raises_the_documented_error_alone(data: bytes) -> None:
    try:
        parse_query(data)
    except DnsError as error:
        answer = error_response(error)
        assert answer is None or answer[:2] == data[:2]
    assert not answers_query(data, 1, Question((b"a",), A)) or data[:2] == b"\0\1"


@given(names, st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535))
def test_a_query_is_read(name: tuple[bytes, ...], id: int, kind: int, edns: int) -> None:
    query = parse_query(query_bytes(encode_name(name), kind, id=id, edns=edns))
    assert (query.id, query.question) == (id, Question(name, kind))
    assert query.recursion_desired
    assert query.edns == bool(edns)
    assert query.udp_max == (min(max(edns, 512), OUR_UDP_MAX) if edns else 512)


@given(names, st.binary(max_size=40))
def test_cut_queries(name: tuple[bytes, ...], tail: bytes) -> None:
    whole = query_bytes(encode_name(name), edns=1232)
    for cut in range(len(whole)):
        with pytest.raises(DnsError):
            parse_query(whole[:cut])
    assert parse_query(whole + tail).question.name == name


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        (query_bytes(b"\0", flags=0x2800), Rcode.NOTIMP),
        (struct.pack("!6H", 7, 0x100, 0, 0, 0, 0), Rcode.FORMERR),
        (struct.pack("!6H", 7, 0x100, 2, 0, 0, 0), Rcode.FORMERR),
        (query_bytes(b"\xc0\x0c"), Rcode.FORMERR),
    ],
)
def test_what_is_refused_is_answered(data: bytes, rcode: Rcode) -> None:
    with pytest.raises(DnsError) as caught:
        parse_query(data)
    answer = error_response(caught.value)
    assert answer is not None
    assert struct.unpack_from("!HH", answer) == (7, 0x8080 | rcode)


def test_answers_are_never_answered() -> None:
    with pytest.raises(DnsError) as caught:
        parse_query(query_bytes(b"\0", flags=0x8100))
    assert error_response(caught.value) is None


def test_a_response() -> None:
    query = parse_query(query_bytes(b"\x03Web\0"))
    data = response(query, Rcode.NOERROR, [address_record("10.0.0.2", 600)])
    assert data == (
        struct.pack("!6H", 7, 0x8580, 1, 1, 0, 0)
        + b"\x03Web\0\0\1\0\1"
        + b"\xc0\x0c\0\1\0\1\0\0\2\x58\0\4\x0a\0\0\2"
    )
    assert answers_query(data, 7, Question((b"wEB",), A))
    assert not answers_query(data, 8, Question((b"web",), A))
    assert not answers_query(data, 7, Question((b"web",), AAAA))
    assert answers_query(with_id(data, 8), 8, Question((b"web",), A))


def test_records() -> None:
    six = address_record("fd00::2", 1)
    assert (six.type, six.data) == (AAAA, socket.inet_pton(socket.AF_INET6, "fd00::2"))
    pointer = pointer_record("web.net", 1)
    assert (pointer.type, pointer.data) == (PTR, b"\x03web\x03net\0")
    with pytest.raises(DnsError):
        pointer_record("a..b", 1)


@given(st.integers(0, 120), st.booleans())
def test_too_long_for_udp_is_truncated(count: int, edns: bool) -> None:
    query = Query(1, Question((b"web",), A), edns=edns, udp_max=1232 if edns else 512)
    records = [address_record(f"10.0.0.{n}", 60) for n in range(count)]
    full = response(query, Rcode.NOERROR, records)
    data = response(query, Rcode.NOERROR, records, max_bytes=query.udp_max)
    assert len(data) <= query.udp_max
    truncated = bool(data[2] & 2)
    assert truncated == (len(full) > query.udp_max)
    if not truncated:
        assert data == full
    assert struct.unpack_from("!HHH", data, 4)[1] == (0 if truncated else count)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("2.0.0.10.in-addr.arpa", "10.0.0.2"),
        ("2.0.0.10.IN-ADDR.ARPA", "10.0.0.2"),
        ("0.10.in-addr.arpa", ""),
        ("x.0.0.10.in-addr.arpa", ""),
        ("2." + "0." * 27 + "0.0.d.f.ip6.arpa", "fd00::2"),
        ("2.0.d.f.ip6.arpa", ""),
        ("web", ""),
    ],
)
def test_reverse_names(name: str, address: str) -> None:
    assert reverse_address(name) == address


@given(st.lists(st.binary(max_size=300), max_size=4), st.data())
def test_any_split_of_a_stream(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(tcp_message, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    reader = TcpMessages()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.receive_data(stream[start:end])
    reader.receive_eof()
    assert found == messages


def test_a_cut_stream() -> None:
    reader = TcpMessages()
    assert reader.receive_data(b"\0\5abc") == []
    with pytest.raises(DnsError):
        reader.receive_eof()


def test_names_as_text() -> None:
    assert parse_name("web.net.") == (b"web", b"net")
    assert name_text(parse_name("web.net")) == "web.net"
    assert parse_name("") == ()
