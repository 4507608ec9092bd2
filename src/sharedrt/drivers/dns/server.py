"""The servers (:class:`sharedrt.model.drivers.NameServers`)."""

import asyncio
import errno
import random
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, cast

import structlog

from sharedrt.aio.completion import run_blocking
from sharedrt.aio.tasks import TaskOwner
from sharedrt.drivers.dns.upstream import Upstream
from sharedrt.drivers.linuxns import inside_netns
from sharedrt.model.drivers import NameAnswer, NameQuestion, NameVerdict
from sharedrt.model.faults import Unavailable
from sharedrt.wire.dns import (
    AAAA,
    ANY,
    IN,
    PTR,
    TCP_MAX,
    A,
    DnsError,
    Query,
    Rcode,
    Record,
    TcpMessages,
    address_record,
    error_response,
    parse_query,
    pointer_record,
    response,
    tcp_message,
)

log = structlog.get_logger(__name__)

TTL_S: Final = 600
"""What dockerd says; a client that keeps answers this long must bear a restarted neighbour's new address."""
UNDER_WAY_MAX: Final = 1024
UNDER_WAY_MAX_EACH: Final = 64
"""Questions passed on and not answered yet, in all and of one asker; more are refused at once."""
CONNECTIONS_MAX_EACH: Final = 16
INSIDE: Final = "127.0.0.11"
"""Where the servers inside containers' network namespaces are, as dockerd's."""
_IDLE_S: Final = 10.0
_PORT: Final = 53
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78

_KINDS: Final = {A: "A", AAAA: "AAAA", PTR: "PTR", ANY: "ANY"}
_RCODES: Final = {
    NameVerdict.ANSWERED: Rcode.NOERROR,
    NameVerdict.UNKNOWN: Rcode.NXDOMAIN,
    NameVerdict.FAILED: Rcode.SERVFAIL,
    NameVerdict.REFUSED: Rcode.REFUSED,
    NameVerdict.FORWARD: Rcode.SERVFAIL,
}

Answer = Callable[[str, NameQuestion], NameAnswer]


class HostNameServers:
    """Implements NameServers on asyncio.

    Args:
        resolv_conf: the host's.
        port: another one for tests.
    """

    def __init__(self, resolv_conf: Path = Path("/etc/resolv.conf"), *, port: int = _PORT) -> None:
        self._upstream = Upstream(resolv_conf)
        self._port = port
        self._owner = TaskOwner("name servers")
        self._serving: dict[str, tuple[tuple[str, ...], AsyncExitStack]] = {}
        self._under_way: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()

    async def serve(self, key: str, addresses: Sequence[str], answer: Answer) -> None:
        if key in self._serving:
            if self._serving[key][0] == tuple(addresses):
                return
            await self.stop(key)
        async with AsyncExitStack() as stack:
            for address in addresses:
                try:
                    await self._listen(stack, address, answer)
                except OSError as error:
                    words = error.strerror or str(error)
                    raise Unavailable(f"name server on {address}", words) from error
            self._serving[key] = (tuple(addresses), stack.pop_all())

    async def serve_inside(self, key: str, netns: Path, answer: Answer) -> tuple[int, int]:
        await self.stop(key)
        try:
            udp, tcp = await run_blocking(None, _bound_inside, netns)
        except OSError as error:
            words = error.strerror or str(error)
            raise Unavailable(f"name server in {netns}", words) from error
        ports = (udp.getsockname()[1], tcp.getsockname()[1])
        async with AsyncExitStack() as stack:
            await self._serve_on(stack, udp, tcp, answer, asker=key)
            self._serving[key] = ((), stack.pop_all())
        return ports

    def serves(self, key: str) -> bool:
        return key in self._serving

    async def stop(self, key: str) -> None:
        if (found := self._serving.pop(key, None)) is not None:
            await found[1].aclose()

    async def aclose(self) -> None:
        for key in list(self._serving):
            await self.stop(key)
        await self._owner.aclose()

    async def _listen(self, stack: AsyncExitStack, address: str, answer: Answer) -> None:
        udp = _bound(address, self._port, socket.SOCK_DGRAM)
        try:
            tcp = _bound(address, self._port, socket.SOCK_STREAM)
        except BaseException:
            udp.close()
            raise
        await self._serve_on(stack, udp, tcp, answer)

    async def _serve_on(
        self,
        stack: AsyncExitStack,
        udp: socket.socket,
        tcp: socket.socket,
        answer: Answer,
        asker: str = "",
    ) -> None:
        """Takes the sockets over. ``asker``: who asks there, when it is not told by the address."""
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_datagram_endpoint(
                lambda: _UdpServer(self, answer, asker), sock=udp
            )
        except BaseException:
            udp.close()
            tcp.close()
            raise
        stack.push_async_callback(protocol.close)
        connections: set[asyncio.Transport] = set()
        try:
            server = await loop.create_server(
                lambda: _TcpServer(self, answer, asker, connections), sock=tcp, backlog=64
            )
        except BaseException:
            tcp.close()
            raise

        async def close() -> None:
            server.close()
            for connection in list(connections):
                connection.abort()
            await server.wait_closed()

        stack.push_async_callback(close)

    # ------------------------------------------------------------ one question

    def handle(
        self,
        data: bytes,
        source: str,
        answer: Answer,
        send: Callable[[bytes], None],
        *,
        tcp: bool,
    ) -> None:
        """Answer a message, at once or when another server has."""
        try:
            query = parse_query(data)
        except DnsError as error:
            if (reply := error_response(error)) is not None:
                send(reply)
            return
        question = NameQuestion(query.question.text, _KINDS.get(query.question.type, ""))
        found = NameAnswer(NameVerdict.REFUSED)
        if query.question.cls == IN:
            found = answer(source, question)
        max_bytes = TCP_MAX if tcp else query.udp_max
        if found.verdict is not NameVerdict.FORWARD:
            send(_render(query, found, max_bytes))
            return
        servers = found.servers or self._upstream.host_servers()
        if not servers or not query.recursion_desired or not self._admit(source):
            send(response(query, _RCODES[found.otherwise]))
            return
        self._spawn(self._forward(query, data, servers, found, source, send, tcp=tcp))

    def _admit(self, source: str) -> bool:
        if self._under_way.total() >= UNDER_WAY_MAX:
            return False
        if self._under_way[source] >= UNDER_WAY_MAX_EACH:
            return False
        self._under_way[source] += 1
        return True

    async def _forward(
        self,
        query: Query,
        data: bytes,
        servers: Sequence[str],
        found: NameAnswer,
        source: str,
        send: Callable[[bytes], None],
        *,
        tcp: bool,
    ) -> None:
        try:
            reply = await self._upstream.ask(query, data, servers, tcp=tcp)
        finally:
            self._under_way[source] -= 1
            if not self._under_way[source]:
                del self._under_way[source]
        send(reply if reply is not None else response(query, _RCODES[found.otherwise]))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._owner.spawn(work, "forward")

    # ------------------------------------------------------------ connections

    def open_connection(self, source: str) -> bool:
        """Whether an asker may have one more."""
        if self._connections[source] >= CONNECTIONS_MAX_EACH:
            return False
        self._connections[source] += 1
        return True

    def close_connection(self, source: str) -> None:
        self._connections[source] -= 1
        if not self._connections[source]:
            del self._connections[source]


class _UdpServer(asyncio.DatagramProtocol):
    def __init__(self, servers: HostNameServers, answer: Answer, asker: str) -> None:
        self._servers, self._answer, self._asker = servers, answer, asker
        self._full = False
        self._closed = asyncio.Event()

    async def close(self) -> None:
        """The address is free when this returns."""
        self._transport.close()
        await self._closed.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By cast: uvloop's transports have the methods, not the classes.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        def send(reply: bytes) -> None:
            # What the kernel does not take is lost, as datagrams may be: no queue of ours grows.
            if not self._full and not self._transport.is_closing():
                self._transport.sendto(reply, addr)

        self._servers.handle(data, self._asker or addr[0], self._answer, send, tcp=False)

    def error_received(self, exc: Exception) -> None:
        log.debug("answer was not delivered", reason=str(exc))


class _TcpServer(asyncio.Protocol):
    """One connection; it may carry several questions and is closed when idle."""

    def __init__(
        self,
        servers: HostNameServers,
        answer: Answer,
        asker: str,
        siblings: "set[asyncio.Transport]",
    ) -> None:
        self._servers, self._answer, self._siblings = servers, answer, siblings
        self._asker = asker
        self._messages = TcpMessages()
        self._source = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(_IDLE_S, self._transport.abort)
        peer = transport.get_extra_info("peername")
        source = self._asker or (str(peer[0]) if peer else "")
        if not source or not self._servers.open_connection(source):
            self._transport.abort()
            return
        self._source = source
        self._siblings.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        if self._source:
            self._servers.close_connection(self._source)
            self._siblings.discard(self._transport)
            self._source = ""

    def pause_writing(self) -> None:
        self._transport.abort()  # asks and does not read the answers

    def data_received(self, data: bytes) -> None:
        if not self._source:
            return
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_IDLE_S, self._transport.abort)
        for message in self._messages.receive_data(data):
            self._servers.handle(message, self._source, self._answer, self._send, tcp=True)

    def eof_received(self) -> bool:
        try:
            self._messages.receive_eof()
        except DnsError:
            return False
        return True  # answers that are under way still go out; the timer closes

    def _send(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(tcp_message(reply))


def _bound(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    six = ip_address(address).version == 6
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        # An address of a bridge that has no carrier yet is still tentative.
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            # Connections of an earlier daemon may linger in TIME_WAIT.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"port {port} is in use by another program") from error
        raise
    return sock


def _bound_inside(netns: Path) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets on free ports of 127.0.0.11 in a network namespace; a port of its own choice is left to
    the container's own name server, if it is one. Blocking, on any thread."""
    with inside_netns(netns):
        udp = _bound(INSIDE, 0, socket.SOCK_DGRAM)
        try:
            return udp, _bound(INSIDE, 0, socket.SOCK_STREAM)
        except BaseException:
            udp.close()
            raise


def _render(query: Query, answer: NameAnswer, max_bytes: int) -> bytes:
    records: list[Record] = []
    if answer.verdict is NameVerdict.ANSWERED:
        wanted = query.question.type
        records = [address_record(address, TTL_S) for address in answer.addresses]
        records += [pointer_record(name, TTL_S) for name in answer.names]
        records = [record for record in records if wanted in (record.type, ANY)]
        random.shuffle(records)  # several containers of one alias share the load
    return response(query, _RCODES[answer.verdict], records, max_bytes=max_bytes)
