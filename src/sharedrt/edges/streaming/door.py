"""The streaming server: hands out addresses with tokens, and serves those who come with one."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from sharedrt.aio.tasks import TaskOwner
from sharedrt.edges.streaming.commands import run_command
from sharedrt.edges.streaming.pipes import TcpPipe, WebSocketPipe
from sharedrt.edges.streaming.port_forward import PortForwarder
from sharedrt.edges.streaming.remote import Remote
from sharedrt.edges.streaming.spdy_remote import SpdyRemote
from sharedrt.edges.streaming.tokens import (
    AttachJob,
    ExecJob,
    Job,
    PortForwardJob,
    Streams,
    Tokens,
)
from sharedrt.edges.streaming.upgrade import Refusal, Upgrade, negotiate
from sharedrt.edges.streaming.websocket_remote import WebSocketRemote
from sharedrt.model.faults import FailedPrecondition
from sharedrt.model.ids import ContainerId, SandboxId
from sharedrt.services.contracts import NamespacedRuntime
from sharedrt.wire.http_head import HeadDecoder, HeadError, RequestHead, response_head

log = structlog.get_logger(__name__)

HEAD_TIMEOUT_S: Final = 30.0
_READ_BYTES: Final = 64 << 10


class StreamingDoor:
    """Serves exec, attach and port-forward to holders of a token."""

    def __init__(self) -> None:
        self._tokens = Tokens()
        self._owner = TaskOwner("streaming")
        self._base_url = ""

    # ------------------------------------------------------------ for the CRI door

    def exec(
        self,
        services: NamespacedRuntime,
        container: ContainerId,
        args: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> str:
        """A URL where that exec is served, once, within a minute."""
        streams = Streams(stdin, stdout, stderr, tty)
        return self._url("exec", ExecJob(services, container, tuple(args), streams))

    def attach(
        self,
        services: NamespacedRuntime,
        container: ContainerId,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> str:
        """The same for the container's own streams."""
        streams = Streams(stdin, stdout, stderr, tty)
        return self._url("attach", AttachJob(services, container, streams))

    def port_forward(
        self, services: NamespacedRuntime, sandbox: SandboxId, ports: Sequence[int]
    ) -> str:
        """The same for connections to a pod's ports; none: to any."""
        return self._url("portforward", PortForwardJob(services, sandbox, tuple(ports)))

    def _url(self, verb: str, job: Job) -> str:
        if not self._base_url:
            raise FailedPrecondition("streaming server", "", "is not running")
        return f"{self._base_url}/{verb}/{self._tokens.issue(job)}"

    # ------------------------------------------------------------ serving

    @asynccontextmanager
    async def listening(self, address: str, port: int) -> AsyncIterator[None]:
        """Serve at that address until the block ends; port 0: any free one.

        Raises:
            FailedPrecondition: the address cannot be bound.
        """
        try:
            server = await asyncio.start_server(self._on_connection, address, port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise FailedPrecondition("streaming address", f"{address}:{port}", reason) from error
        self._base_url = _url_of(server.sockets[0])
        log.info("listening", url=self._base_url)
        try:
            yield
        finally:
            self._base_url = ""
            server.close()
            # Connections first: newer Pythons wait for them in wait_closed.
            await self._owner.aclose()
            await server.wait_closed()

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._owner.spawn(self._serve(reader, writer), "streaming connection")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._handle(reader, writer)
        except OSError as error:
            log.debug("connection lost", error=str(error))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = TcpPipe(reader, writer)
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head, first = await _read_head(reader)
        except (HeadError, TimeoutError) as error:
            await _refuse(pipe, Refusal("400 Bad Request", str(error) or "timed out"))
            return
        job = self._redeem(head)
        if job is None:
            await _refuse(pipe, Refusal("404 Not Found", "unknown, used or expired token"))
            return
        answer = negotiate(head, port_forward=isinstance(job, PortForwardJob))
        if isinstance(answer, Refusal):
            await _refuse(pipe, answer)
            return
        pipe = TcpPipe(reader, writer, first)
        await pipe.write(response_head("101 Switching Protocols", answer.fields))
        await _run(job, answer, pipe)

    def _redeem(self, head: RequestHead) -> Job | None:
        path = head.target.partition("?")[0]
        _, _, token = path[1:].partition("/")
        job = self._tokens.redeem(token)
        log.debug("streaming request", verb=path[1:].partition("/")[0], found=job is not None)
        return job


async def _run(job: Job, answer: Upgrade, pipe: TcpPipe) -> None:
    if isinstance(job, PortForwardJob):
        await PortForwarder(job, WebSocketPipe(pipe) if answer.websocket else pipe).run()
        return
    remote: Remote
    if answer.websocket:
        remote = WebSocketRemote(WebSocketPipe(pipe), answer.protocol, job.streams)
    else:
        remote = SpdyRemote(pipe, answer.protocol, job.streams)
    await run_command(job, remote)


async def _read_head(reader: asyncio.StreamReader) -> tuple[RequestHead, bytes]:
    decoder = HeadDecoder()
    while data := await reader.read(_READ_BYTES):
        if (found := decoder.receive_data(data)) is not None:
            return found
    raise HeadError("the connection ended inside of the head")


async def _refuse(pipe: TcpPipe, refusal: Refusal) -> None:
    body = f"{refusal.reason}\n".encode()
    fields = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **refusal.fields,
    }
    log.info("streaming request refused", status=refusal.status, reason=refusal.reason)
    await pipe.write(response_head(refusal.status, fields) + body)


def _url_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
