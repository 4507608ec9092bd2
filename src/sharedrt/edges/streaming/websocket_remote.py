"""Exec and attach over WebSocket: each message begins with its channel's number.

In the ``base64`` versions the number is a digit, and the rest base64, for clients that have text messages only.
"""

import asyncio
import binascii
from base64 import b64decode, b64encode
from contextlib import suppress
from typing import Final

from sharedrt.edges.streaming.pipes import WebSocketPipe
from sharedrt.edges.streaming.remote import ClientGone
from sharedrt.edges.streaming.tokens import Streams
from sharedrt.wire.remote_command import (
    BASE64_PROTOCOLS,
    CLOSE_SIGNAL,
    V5,
    Channel,
    ResizeDecoder,
    TerminalSize,
)
from sharedrt.wire.websocket import Message, WebSocketError

_QUEUED_MESSAGES: Final = 64
"""Of input that the process has not read yet; beyond it the connection is not read any more."""


class WebSocketRemote:
    """A :class:`Remote`."""

    def __init__(self, pipe: WebSocketPipe, protocol: str, streams: Streams) -> None:
        self.protocol = protocol
        self._pipe = pipe
        self._base64 = protocol in BASE64_PROTOCOLS
        self._streams = streams
        self._resize = ResizeDecoder()
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_MESSAGES)
        self._sizes: asyncio.Queue[TerminalSize] = asyncio.Queue(_QUEUED_MESSAGES)
        self._stdin_ended = not streams.stdin

    async def receive(self) -> None:
        try:
            while (message := await self._pipe.receive()) is not None:
                await self._on_message(message)
        except (WebSocketError, OSError, ValueError) as error:
            raise ClientGone(str(error)) from error
        raise ClientGone("closed")

    async def _on_message(self, message: Message) -> None:
        """Raises ValueError for what has no meaning."""
        if not message.data:
            return
        number, data = message.data[0], message.data[1:]
        if self._base64:
            number -= ord("0")
            try:
                data = b64decode(data, validate=True)
            except binascii.Error as error:
                raise ValueError("malformed base64") from error
        if number == CLOSE_SIGNAL and self.protocol == V5:
            if data[:1] == bytes([Channel.STDIN]):
                await self._end_stdin()
            return
        match number:
            case Channel.STDIN:
                if data and not self._stdin_ended:
                    await self._stdin.put(data)
            case Channel.RESIZE:
                for size in self._resize.receive_data(data):
                    await self._sizes.put(size)
            case _:
                raise ValueError(f"channel {number} is not the client's to write")

    async def _end_stdin(self) -> None:
        if not self._stdin_ended:
            self._stdin_ended = True
            await self._stdin.put(b"")

    async def ready(self) -> None:
        """Nothing to wait for: channels are there from the start. An empty message on the lowest one tells
        the client that the connection is up."""
        if self._streams.stdout:
            await self._message(Channel.STDOUT, b"")
        elif self._streams.stderr:
            await self._message(Channel.STDERR, b"")
        else:
            await self._message(Channel.ERROR, b"")

    async def read_stdin(self) -> bytes:
        if not self._streams.stdin:
            return b""
        return await self._stdin.get()

    async def read_size(self) -> TerminalSize | None:
        return await self._sizes.get()

    async def send(self, channel: Channel, data: bytes) -> None:
        wanted = {
            Channel.STDOUT: self._streams.stdout,
            Channel.STDERR: self._streams.stderr,
            Channel.ERROR: True,
        }
        if wanted[channel] and data:
            await self._message(channel, data)

    async def _message(self, channel: Channel, data: bytes) -> None:
        if self._base64:
            await self._pipe.send(str(int(channel)).encode() + b64encode(data), text=True)
        else:
            await self._pipe.send(bytes([channel]) + data)

    async def finish(self) -> None:
        with suppress(OSError):
            await self._pipe.finish()
