"""Clients of the streaming server as kubectl's libraries are: SPDY written from the protocol, WebSocket by aiohttp."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import urlsplit

import aiohttp

from sharedrt.wire.spdy import DataReceived, SpdyConnection, StreamAccepted, StreamReset


class SpdyClient:
    """One upgraded connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.connection = SpdyConnection(client=True)
        self.accepted: set[int] = set()
        self.ended: set[int] = set()
        self.reset: set[int] = set()
        self.data: dict[int, bytearray] = {}
        self._changed = asyncio.Condition()

    async def open(self, **headers: str) -> int:
        stream = self.connection.open(headers)
        self.data[stream] = bytearray()
        await self._flush()
        return stream

    async def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        self.connection.send(stream, data, fin=fin)
        await self._flush()

    async def ping(self) -> None:
        self.connection.ping(1)
        await self._flush()

    async def wait_end(self, *streams: int) -> list[bytes]:
        """What came on each, once all have ended."""
        await self._until(lambda: self.ended | self.reset >= set(streams))
        return [bytes(self.data[stream]) for stream in streams]

    async def wait_data(self, stream: int, part: bytes) -> bytes:
        await self._until(lambda: part in self.data[stream])
        return bytes(self.data[stream])

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(condition)

    async def receive(self) -> None:
        """Runs in a task of its own, until the server closes."""
        while data := await self._reader.read(65536):
            for event in self.connection.receive_data(data):
                match event:
                    case StreamAccepted(stream):
                        self.accepted.add(stream)
                    case DataReceived(stream, payload, fin):
                        self.data[stream] += payload
                        if fin:
                            self.ended.add(stream)
                    case StreamReset(stream):
                        self.reset.add(stream)
            await self._flush()
            async with self._changed:
                self._changed.notify_all()
        self.connection.receive_eof()
        self._writer.close()

    async def _flush(self) -> None:
        self._writer.write(self.connection.data_to_send())
        await self._writer.drain()

    def drop(self) -> None:
        """Vanish without a word."""
        self._writer.transport.abort()


async def upgrade(
    url: str, headers: Mapping[str, str], *, method: str = "POST"
) -> tuple[str, dict[str, str], asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request's head; status line and fields of the answer, and the connection."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return head[0], fields, reader, writer


@contextlib.asynccontextmanager
async def spdy(url: str, protocol: str = "v4.channel.k8s.io") -> AsyncIterator[SpdyClient]:
    """An upgraded SPDY connection. An empty protocol: a client from before they were negotiated."""
    version = {"X-Stream-Protocol-Version": protocol} if protocol else {}
    status, fields, reader, writer = await upgrade(
        url, {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", **version}
    )
    assert status == "HTTP/1.1 101 Switching Protocols", status
    assert fields["upgrade"] == "spdy/3.1"
    assert fields.get("x-stream-protocol-version", "") == protocol
    client = SpdyClient(reader, writer)
    async with asyncio.TaskGroup() as group:
        receiver = group.create_task(client.receive())
        try:
            yield client
        finally:
            receiver.cancel()
            writer.close()


@contextlib.asynccontextmanager
async def websocket(url: str, *protocols: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket connection."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=protocols, max_msg_size=0) as connection,
    ):
        yield connection
