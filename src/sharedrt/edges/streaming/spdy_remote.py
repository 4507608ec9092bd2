"""Exec and attach over SPDY: the client opens one stream for each kind, named by header ``streamtype``."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

from sharedrt.edges.streaming.pipes import Pipe
from sharedrt.edges.streaming.remote import ClientGone
from sharedrt.edges.streaming.spdy_link import SpdyLink, SpdyStream
from sharedrt.edges.streaming.tokens import Streams
from sharedrt.model.faults import DeadlineExceeded
from sharedrt.wire.remote_command import STREAM_TYPE, Channel, ResizeDecoder, TerminalSize
from sharedrt.wire.spdy import FrameError

CREATION_TIMEOUT_S: Final = 30.0
_WITHOUT_RESIZE: Final = frozenset({"channel.k8s.io", "v2.channel.k8s.io"})


class SpdyRemote:
    """A :class:`Remote`."""

    def __init__(self, pipe: Pipe, protocol: str, streams: Streams) -> None:
        self.protocol = protocol
        self._link = SpdyLink(pipe, self._on_open)
        self._streams: dict[Channel, SpdyStream] = {}
        self._wanted = _wanted(streams, protocol)
        self._complete = asyncio.Event()
        self._resize = ResizeDecoder()
        self._sizes: deque[TerminalSize] = deque()

    def _on_open(self, stream: SpdyStream) -> None:
        kind = stream.headers.get(STREAM_TYPE, "").upper()
        if kind in Channel.__members__:
            self._streams[Channel[kind]] = stream
            if self._wanted <= self._streams.keys():
                self._complete.set()

    async def receive(self) -> None:
        try:
            await self._link.receive()
        except (FrameError, OSError) as error:
            raise ClientGone(str(error)) from error
        raise ClientGone("closed")

    async def ready(self) -> None:
        try:
            async with asyncio.timeout(CREATION_TIMEOUT_S):
                await self._complete.wait()
        except TimeoutError as error:
            raise DeadlineExceeded("opening of the client's streams", CREATION_TIMEOUT_S) from error

    async def read_stdin(self) -> bytes:
        stream = self._streams.get(Channel.STDIN)
        return await stream.read() if stream else b""

    async def read_size(self) -> TerminalSize | None:
        stream = self._streams.get(Channel.RESIZE)
        while not self._sizes:
            data = await stream.read() if stream else b""
            if not data:
                return None
            try:
                self._sizes.extend(self._resize.receive_data(data))
            except ValueError as error:
                raise ClientGone(f"resize stream: {error}") from error
        return self._sizes.popleft()

    async def send(self, channel: Channel, data: bytes) -> None:
        if (stream := self._streams.get(channel)) is not None:
            await stream.write(data)

    async def finish(self) -> None:
        # The error stream last: clients take its end for the end of all.
        for channel in (
            Channel.STDOUT,
            Channel.STDERR,
            Channel.STDIN,
            Channel.RESIZE,
            Channel.ERROR,
        ):
            if (stream := self._streams.get(channel)) is not None:
                with suppress(OSError):
                    await stream.close()
        await self._link.finish()


def _wanted(streams: Streams, protocol: str) -> frozenset[Channel]:
    wanted = {Channel.ERROR}
    if streams.stdin:
        wanted.add(Channel.STDIN)
    if streams.stdout:
        wanted.add(Channel.STDOUT)
    if streams.stderr and not streams.tty:
        wanted.add(Channel.STDERR)
    if streams.tty and protocol not in _WITHOUT_RESIZE:
        wanted.add(Channel.RESIZE)
    return frozenset(wanted)
