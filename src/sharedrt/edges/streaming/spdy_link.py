"""A SPDY connection on the event loop: streams to read from and write to."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, assert_never

from sharedrt.edges.streaming.pipes import Pipe
from sharedrt.wire.spdy import (
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    ResetCode,
    SpdyConnection,
    StreamAccepted,
    StreamOpened,
    StreamReset,
)

MAX_UNREAD_BYTES: Final = 1 << 20
"""Of one stream. Beyond it the connection is not read any more: SPDY as its clients speak it has no
flow control of its own for single streams."""


class SpdyStream:
    """One stream. Read by one task."""

    def __init__(self, link: "SpdyLink", stream_id: int, headers: Mapping[str, str]) -> None:
        self.id, self.headers = stream_id, headers
        self._link = link
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = self._lost = False
        self._readable, self._room = asyncio.Event(), asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes; nothing when the client has ended its half. Raises ConnectionResetError when the
        connection is lost before that."""
        while not self._chunks:
            if self._ended:
                return b""
            if self._lost:
                raise ConnectionResetError("the client's connection is lost")
            self._readable.clear()
            await self._readable.wait()
        data = self._chunks.popleft()
        self._size -= len(data)
        self._room.set()
        return data

    async def write(self, data: bytes) -> None:
        """Send. Nothing happens on a stream that the client has reset."""
        self._link.connection.send(self.id, data)
        await self._link.flush()

    async def close(self) -> None:
        """End our half. Idempotent."""
        self._link.connection.send(self.id, b"", fin=True)
        await self._link.flush()

    async def reset(self) -> None:
        """End both halves at once."""
        self._link.connection.reset(self.id, ResetCode.CANCEL)
        self.end()
        await self._link.flush()

    async def feed(self, data: bytes, fin: bool) -> None:
        """Called by the link, which waits while nobody reads."""
        while self._size + len(data) > MAX_UNREAD_BYTES and not self._ended:
            self._room.clear()
            await self._room.wait()
        if data and not self._ended:
            self._chunks.append(data)
            self._size += len(data)
        if fin:
            self._ended = True
        self._readable.set()

    def end(self) -> None:
        """The client has ended its half, or reset the stream."""
        self._ended = True
        self._readable.set()
        self._room.set()

    def lose(self) -> None:
        """The connection is no more."""
        self._lost = True
        self._readable.set()


class SpdyLink:
    """The server's end. :meth:`receive` must run, in a task of its own, as long as the link is used.

    Args:
        on_open: told of each stream that the client opens; it has been accepted already.
    """

    def __init__(self, pipe: Pipe, on_open: Callable[[SpdyStream], None]) -> None:
        self.connection = SpdyConnection(client=False)
        self._pipe = pipe
        self._on_open = on_open
        self._streams: dict[int, SpdyStream] = {}

    async def receive(self) -> None:
        """Until the client closes the connection. Raises FrameError, ConnectionError."""
        try:
            while data := await self._pipe.read():
                for event in self.connection.receive_data(data):
                    await self._on_event(event)
                await self.flush()
            self.connection.receive_eof()
        finally:
            for stream in self._streams.values():
                stream.lose()

    async def _on_event(self, event: Event) -> None:
        match event:
            case StreamOpened(stream_id, headers, fin):
                stream = SpdyStream(self, stream_id, headers)
                self._streams[stream_id] = stream
                self.connection.accept(stream_id)
                # Answered before anything is said on it.
                await self.flush()
                if fin:
                    stream.end()
                self._on_open(stream)
            case DataReceived(stream_id, data, fin):
                if (known := self._streams.get(stream_id)) is not None:
                    await known.feed(data, fin)
            case StreamReset(stream_id):
                if (known := self._streams.pop(stream_id, None)) is not None:
                    known.end()
            case StreamAccepted() | HeadersReceived() | GoAwayReceived():
                return
            case _:
                assert_never(event)

    def forget(self, stream: SpdyStream) -> None:
        """Both halves are done with."""
        self._streams.pop(stream.id, None)

    async def flush(self) -> None:
        """Write what the protocol has to say."""
        if data := self.connection.data_to_send():
            await self._pipe.write(data)

    async def finish(self) -> None:
        """We are done: say so, and let the client close."""
        self.connection.go_away()
        with suppress(OSError):
            await self.flush()
        await self._pipe.finish()
