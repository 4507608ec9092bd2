"""Byte pipes under SPDY: a TCP connection, or messages of a WebSocket."""

import asyncio
from contextlib import suppress
from typing import Final, Protocol

from sharedrt.wire.websocket import (
    Closed,
    Message,
    MessageDecoder,
    Opcode,
    Ping,
    WebSocketError,
    encode_close,
    encode_frame,
)

_READ_BYTES: Final = 64 << 10
LINGER_S: Final = 5.0
"""How long a client may take to close after us. A TCP connection closed with unread bytes is reset, and
a reset takes along what the client has not read yet."""


class Pipe(Protocol):
    """Bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes; nothing at the end. Raises ConnectionError, WebSocketError."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, and wait while the peer does not read. Order is that of the calls."""
        ...

    async def finish(self) -> None:
        """We are done: let the peer read the rest and close."""
        ...


class TcpPipe:
    """A TCP connection, whose first bytes may have been read with the request's head.

    A transport that the peer has closed is not touched any more: uvloop's raises RuntimeError then.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b""
    ) -> None:
        self._reader, self._writer, self._first = reader, writer, first

    async def read(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        return await self._reader.read(_READ_BYTES)

    async def write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        """End our half. Nothing to do on a connection that is closed."""
        if not self._writer.is_closing():
            self._writer.write_eof()

    def close(self) -> None:
        """Both halves, at once."""
        self._writer.close()

    async def finish(self) -> None:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(LINGER_S):
                self.end()
                while await self.read():
                    pass


class WebSocketPipe:
    """Messages as they come, control frames answered. As a byte pipe, borders of messages do not count."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._decoder = MessageDecoder(masked=True)
        self._waiting: list[Message] = []
        self._closed = False

    async def receive(self) -> Message | None:
        """The next message; ``None`` when the client has closed. Raises ConnectionError, WebSocketError."""
        while not self._waiting:
            if self._closed:
                return None
            data = await self._pipe.read()
            if not data:
                self._closed = True
                self._decoder.receive_eof()
                return None
            await self._on_data(data)
        return self._waiting.pop(0)

    async def _on_data(self, data: bytes) -> None:
        for event in self._decoder.receive_data(data):
            match event:
                case Message():
                    self._waiting.append(event)
                case Ping(data=echo):
                    await self._pipe.write(encode_frame(Opcode.PONG, echo))
                case Closed():
                    self._closed = True
                    await self._pipe.write(encode_close(1000))
                    return

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """One message."""
        await self._pipe.write(encode_frame(Opcode.TEXT if text else Opcode.BINARY, data))

    async def read(self) -> bytes:
        while (message := await self.receive()) is not None:
            if message.data:
                return message.data
        return b""

    async def write(self, data: bytes) -> None:
        await self.send(data)

    async def finish(self) -> None:
        with suppress(TimeoutError, OSError, WebSocketError):
            async with asyncio.timeout(LINGER_S):
                if not self._closed:
                    await self._pipe.write(encode_close(1000))
                while await self.receive() is not None:
                    pass
        await self._pipe.finish()
