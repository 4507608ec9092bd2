"""The name servers on real sockets of the loopback, with resolvers behind them that are made here."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sharedrt.drivers.dns import HostNameServers
from sharedrt.drivers.dns import server as server_module
from sharedrt.drivers.dns import upstream as upstream_module
from sharedrt.model.drivers import NameAnswer, NameQuestion, NameVerdict
from sharedrt.model.faults import Unavailable
from sharedrt.wire.dns import (
    AAAA,
    PTR,
    A,
    Question,
    Rcode,
    TcpMessages,
    address_record,
    answers_query,
    encode_name,
    parse_name,
    parse_query,
    response,
    tcp_message,
)

ADDRESS, UPSTREAM, DEAD = "127.53.0.1", "127.53.0.2", "127.53.0.3"
FORWARD = NameAnswer(NameVerdict.FORWARD)
MANY = tuple(f"10.0.{n}.1" for n in range(60))


def port_that_is_free() -> int:
    with socket.socket() as sock:
        sock.bind((ADDRESS, 0))
        return int(sock.getsockname()[1])


def answer(source: str, question: NameQuestion) -> NameAnswer:
    match question.name:
        case "web":
            return NameAnswer(NameVerdict.ANSWERED, addresses=("10.0.0.2", "fd00::2"))
        case "many":
            return NameAnswer(NameVerdict.ANSWERED, addresses=MANY)
        case "2.0.0.10.in-addr.arpa":
            return NameAnswer(NameVerdict.ANSWERED, names=("web.front",))
        case "nobody":
            return NameAnswer(NameVerdict.REFUSED)
        case "gone":
            return NameAnswer(NameVerdict.UNKNOWN)
        case "bare":
            return NameAnswer(NameVerdict.FORWARD, otherwise=NameVerdict.UNKNOWN)
        case "own":
            return NameAnswer(NameVerdict.FORWARD, servers=(UPSTREAM,))
        case _:
            return FORWARD


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[HostNameServers]:
    """Without a resolver, until a test writes ``resolv.conf``."""
    made = HostNameServers(tmp_path / "resolv.conf", port=port_that_is_free())
    made._upstream._port = made._port
    await made.serve("net", [ADDRESS], answer)
    yield made
    await made.aclose()


def query(name: str, kind: int = A, *, id: int = 4711, edns: int = 0) -> bytes:
    header = struct.pack("!6H", id, 0x100, 1, 0, 0, 1 if edns else 0)
    tail = b"\0" + struct.pack("!HHIH", 41, edns, 0, 0) if edns else b""
    return header + encode_name(parse_name(name)) + struct.pack("!HH", kind, 1) + tail


class Asked(asyncio.DatagramProtocol):
    """A resolver: ``reply`` makes the answer of a query, or none."""

    def __init__(self, reply: Callable[[bytes], bytes | None]) -> None:
        self.reply, self.seen = reply, list[bytes]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.seen.append(data)
        if (reply := self.reply(data)) is not None:
            self.transport.sendto(reply, addr)  # type: ignore[attr-defined]


async def resolver(
    servers: HostNameServers, address: str, reply: Callable[[bytes], bytes | None]
) -> tuple[asyncio.BaseTransport, Asked]:
    return await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Asked(reply), local_addr=(address, servers._port)
    )


def say(data: bytes) -> bytes:
    return response(parse_query(data), Rcode.NOERROR, [address_record("192.0.2.9", 5)])


async def udp(servers: HostNameServers, data: bytes, timeout_s: float = 5.0) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect((ADDRESS, servers._port))
        sock.send(data)
        async with asyncio.timeout(timeout_s):
            return await loop.sock_recv(sock, 65535)


async def tcp(servers: HostNameServers, *messages: bytes) -> list[bytes]:
    reader, writer = await asyncio.open_connection(ADDRESS, servers._port)
    writer.write(b"".join(map(tcp_message, messages)))
    found, stream = list[bytes](), TcpMessages()
    async with asyncio.timeout(60):
        while len(found) < len(messages):
            found += stream.receive_data(await reader.read(65536))
    writer.close()
    await writer.wait_closed()
    return found


def told(data: bytes) -> tuple[int, int]:
    """(rcode, number of answers)."""
    flags, _, answers = struct.unpack_from("!HHH", data, 2)
    return flags & 15, answers


async def test_what_is_ours(servers: HostNameServers) -> None:
    data = await udp(servers, query("WEB"))
    assert told(data) == (0, 1)
    assert data.endswith(b"\0\4\x0a\0\0\2")
    assert answers_query(data, 4711, Question((b"web",), A))
    assert (await udp(servers, query("web", AAAA))).endswith(
        socket.inet_pton(socket.AF_INET6, "fd00::2")
    )
    assert told(await udp(servers, query("web", 255))) == (0, 2)
    assert told(await udp(servers, query("web", 15))) == (0, 0), "no MX, but the name is there"
    pointer = await udp(servers, query("2.0.0.10.in-addr.arpa", PTR))
    assert pointer.endswith(b"\3web\5front\0")
    assert told(await udp(servers, query("gone"))) == (Rcode.NXDOMAIN, 0)
    assert told(await udp(servers, query("nobody"))) == (Rcode.REFUSED, 0)


async def test_long_answers_are_had_over_tcp(servers: HostNameServers) -> None:
    short = await udp(servers, query("many"))
    assert short[2] & 2
    assert len(short) <= 512
    assert told(await udp(servers, query("many", edns=4096))) == (0, len(MANY))
    one, two = await tcp(servers, query("many"), query("web"))
    assert told(one) == (0, len(MANY))
    assert told(two) == (0, 1)


async def test_without_a_resolver_it_is_said_at_once(servers: HostNameServers) -> None:
    assert told(await udp(servers, query("example.org"), 0.5)) == (Rcode.SERVFAIL, 0)
    assert told(await udp(servers, query("bare"), 0.5)) == (Rcode.NXDOMAIN, 0)
    assert told((await tcp(servers, query("example.org")))[0]) == (Rcode.SERVFAIL, 0)


async def test_the_rest_is_passed_on(servers: HostNameServers, tmp_path: Path) -> None:
    transport, asked = await resolver(servers, UPSTREAM, say)
    # Nobody listens at the first: its host says so, and the second is asked.
    (tmp_path / "resolv.conf").write_text(f"nameserver {DEAD}\nnameserver {UPSTREAM}\n")
    for _ in range(3):
        data = await udp(servers, query("example.org", edns=1232))
        assert told(data) == (0, 1)
        assert bytes((192, 0, 2, 9)) in data
        assert data[:2] == query("x")[:2]
    ids = {data[:2] for data in asked.seen}
    assert len(ids) == 3
    assert asked.seen[0][2:] == query("example.org", edns=1232)[2:]
    transport.close()


async def test_a_containers_own_resolver(servers: HostNameServers) -> None:
    transport, _ = await resolver(servers, UPSTREAM, say)
    assert told(await udp(servers, query("own"))) == (0, 1)
    transport.close()


async def test_forged_answers_are_dropped(servers: HostNameServers, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text(f"nameserver {UPSTREAM}\n")
    flood: list[bytes] = []

    def reply(data: bytes) -> bytes:
        wrong = parse_query(query("evil.org", id=int.from_bytes(data[:2], "big")))
        flood.append(response(wrong, Rcode.NOERROR, [address_record("6.6.6.6", 5)]))
        return flood[-1]

    transport, asked = await resolver(servers, UPSTREAM, reply)
    servers._upstream._patience_s = 0.2
    assert told(await udp(servers, query("example.org"))) == (Rcode.SERVFAIL, 0)
    asked.reply = say
    assert told(await udp(servers, query("example.org"))) == (0, 1)
    transport.close()


async def test_a_silent_resolver_is_left_out_for_a_while(
    servers: HostNameServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_module, "DOWN_S", 0.3)
    (tmp_path / "resolv.conf").write_text(f"nameserver {UPSTREAM}\n")
    transport, asked = await resolver(servers, UPSTREAM, lambda data: None)
    servers._upstream._patience_s = 0.1
    for _ in range(upstream_module.TIMEOUTS_MAX + 3):
        assert told(await udp(servers, query("example.org"))) == (Rcode.SERVFAIL, 0)
    assert len(asked.seen) == upstream_module.TIMEOUTS_MAX
    asked.reply = say
    await asyncio.sleep(0.35)
    assert told(await udp(servers, query("example.org"))) == (0, 1)
    transport.close()


async def test_one_asker_cannot_take_all(
    servers: HostNameServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "UNDER_WAY_MAX_EACH", 3)
    (tmp_path / "resolv.conf").write_text(f"nameserver {UPSTREAM}\n")
    held: list[bytes] = []
    transport, asked = await resolver(servers, UPSTREAM, lambda data: held.append(data))
    monkeypatch.setattr(upstream_module, "TIMEOUTS_MAX", 99)
    servers._upstream._patience_s = 1.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect((ADDRESS, servers._port))
        for id in range(4):
            sock.send(query("example.org", id=id))
        async with asyncio.timeout(0.5):
            refused = await asyncio.get_running_loop().sock_recv(sock, 512)
    assert (refused[:2], told(refused)) == (b"\0\3", (Rcode.SERVFAIL, 0))
    await asyncio.sleep(1.1)
    assert len(held) == 3
    asked.reply = say
    assert told(await udp(servers, query("example.org"))) == (0, 1), "their places are free again"
    transport.close()


async def test_a_port_that_somebody_has(servers: HostNameServers) -> None:
    other = HostNameServers(Path("/nonexistent"), port=servers._port)
    with pytest.raises(Unavailable, match=r"127\.53\.0\.1"):
        await other.serve("net", ["127.53.0.9", ADDRESS], answer)
    assert not other.serves("net")
    await servers.stop("net")
    await servers.stop("net")
    for _ in range(2):
        await other.serve("net", ["127.53.0.9", ADDRESS], answer)
    assert other.serves("net")
    assert told(await udp(servers, query("web"))) == (0, 1)
    await other.aclose()


async def test_garbage(servers: HostNameServers) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for data in (b"", b"x", b"\0" * 12, query("web")[:14], b"\xff" * 400):
            sock.sendto(data, (ADDRESS, servers._port))
    assert told(await udp(servers, query("web")[:14] + b"\xc0\x0c\0\1\0\1")) == (Rcode.FORMERR, 0)
    reader, writer = await asyncio.open_connection(ADDRESS, servers._port)
    writer.write(b"\0\5ab")
    writer.write_eof()
    assert told(await udp(servers, query("web"))) == (0, 1)
    assert await reader.read() == b""
    writer.close()
