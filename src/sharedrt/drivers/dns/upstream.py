"""Passing questions on to other resolvers.

Each question goes out from a socket of its own, so that its port and id are not to be guessed, and only the server
that was asked can answer. A server that leaves several questions without an answer is left out for some
seconds: without a working resolver a question is then refused at once, not after a wait of its own.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from sharedrt.wire.dns import DnsError, Query, TcpMessages, answers_query, tcp_message, with_id
from sharedrt.wire.resolv_conf import parse_resolv_conf

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 2.0
"""For one server; the C library gives a question five seconds in all."""
SERVERS_MAX: Final = 2
TIMEOUTS_MAX: Final = 5
"""Of one server, without an answer between them, before it counts as down: datagrams may get lost."""
DOWN_S: Final = 5.0
_NOTED_MAX: Final = 256


@dataclass(slots=True)
class _Silence:
    timeouts: int = 0
    until: float = 0.0


class Upstream:
    """Asks other servers.

    Args:
        resolv_conf: the host's; read again when it changes.
        port: of all servers.
    """

    def __init__(
        self, resolv_conf: Path, *, port: int = 53, patience_s: float = PATIENCE_S
    ) -> None:
        self._path = resolv_conf
        self._port = port
        self._patience_s = patience_s
        self._stamp: tuple[int, int] | None = None
        self._servers: tuple[str, ...] = ()
        self._silent: dict[str, _Silence] = {}

    def host_servers(self) -> Sequence[str]:
        """The host's resolvers; one on its loopback is as good as any, since we are on the host."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                self._servers = parse_resolv_conf(self._path.read_text(errors="replace")).servers
                self._stamp = stamp
        except OSError:
            self._servers, self._stamp = (), None
        return self._servers

    async def ask(
        self, query: Query, message: bytes, servers: Sequence[str], *, tcp: bool
    ) -> bytes | None:
        """The answer, under the query's own id; ``None`` when there is none to be had."""
        for server in servers[:SERVERS_MAX]:
            silence = self._silent.get(server)
            if silence is not None and silence.until > time.monotonic():
                continue
            id = secrets.randbits(16)
            try:
                async with asyncio.timeout(self._patience_s):
                    ask = self._ask_tcp if tcp else self._ask_udp
                    answer = await ask(server, with_id(message, id), id, query)
            except TimeoutError:
                self._note_timeout(server)
                continue
            except (OSError, DnsError) as error:
                log.debug("resolver cannot be asked", server=server, reason=str(error))
                continue
            self._silent.pop(server, None)
            return with_id(answer, query.id)
        return None

    def _note_timeout(self, server: str) -> None:
        if len(self._silent) >= _NOTED_MAX:
            self._silent.clear()  # servers are named by clients too
        silence = self._silent.setdefault(server, _Silence())
        silence.timeouts += 1
        if silence.timeouts >= TIMEOUTS_MAX:
            silence.until = time.monotonic() + DOWN_S
            log.warning("resolver does not answer", server=server, left_out_s=DOWN_S)

    async def _ask_udp(self, server: str, message: bytes, id: int, query: Query) -> bytes:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Asker(answer, id, query), remote_addr=(server, self._port)
        )
        try:
            transport.sendto(message)
            return await answer
        finally:
            transport.close()

    async def _ask_tcp(self, server: str, message: bytes, id: int, query: Query) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(tcp_message(message))
            messages = TcpMessages()
            while data := await reader.read(65536):
                for answer in messages.receive_data(data):
                    if answers_query(answer, id, query.question):
                        return answer
            raise DnsError("connection closed without an answer")
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class _Asker(asyncio.DatagramProtocol):
    """Waits for the one answer; what does not fit the question is dropped (it may be forged)."""

    def __init__(self, answer: "asyncio.Future[bytes]", id: int, query: Query) -> None:
        self._answer, self._id, self._query = answer, id, query

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answer.done() and answers_query(data, self._id, self._query.question):
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)
