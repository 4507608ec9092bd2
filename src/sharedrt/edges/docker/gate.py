"""The asyncio protocol in front of aiohttp: peers are checked, and hijacked connections leave HTTP.

Every connection begins as HTTP: the gate hands its bytes to aiohttp's protocol. When a handler hijacks the
connection, bytes go to a :class:`HijackedStream` instead, first of all those that came right behind the request.
"""

import asyncio
import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from sharedrt.wire.docker_hijack import HijackSplitter

READ_BUFFER_BYTES: Final = 256 << 10
"""Reading from a client pauses beyond this much that nobody has taken."""

_HANG_UP_POLL_S: Final = 2.0
_FIRST_HEAD_POLL_S: Final = 0.001
_LONGEST_HEAD_POLL_S: Final = 0.02
_HEAD_PATIENCE_S: Final = 1.0

_UCRED: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected a unix socket (SO_PEERCRED): a fact of the connect, not of who holds the socket now."""

    pid: int
    uid: int
    gid: int


PeerCheck = Callable[[Peer], bool]
"""Whether a peer may use this door."""


class ConnectionGate(asyncio.Protocol):
    """One client's connection.

    Args:
        inner: aiohttp's protocol for it.
        peer_check: asked once for unix sockets; a refused peer gets 403 for every request.
    """

    def __init__(self, inner: asyncio.Protocol, peer_check: PeerCheck | None = None) -> None:
        self._inner = inner
        self._peer_check = peer_check
        self._splitter = HijackSplitter()
        self._stream: HijackedStream | None = None
        self._transport: asyncio.Transport | None = None
        self._reading_held = False
        self._eof_while_holding = False
        self.peer: Peer | None = None
        self.admitted = True

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = _peer_of(self._transport)
        if self._peer_check is not None:
            self.admitted = self.peer is not None and self._peer_check(self.peer)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.feed(data)
            return
        passed = self._splitter.receive_data(data)
        if passed:
            self._inner.data_received(passed)
        if self._splitter.held_bytes > READ_BUFFER_BYTES and not self._reading_held:
            self._reading_held = True
            self._require_transport().pause_reading()

    def eof_received(self) -> bool | None:
        if self._stream is not None:
            self._stream.feed_eof()
            return True
        if self._splitter.holding:
            self._eof_while_holding = True
            return True
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream.pause_writing()
        else:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._stream is not None:
            self._stream.resume_writing()
        else:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._stream.connection_lost()
        self._inner.connection_lost(exc)

    # -- the handlers' side

    def hijack(self) -> "HijackedStream":
        """Leave HTTP: from now on bytes are the stream's. To be called from the request's handler."""
        transport = self._require_transport()
        self._stream = HijackedStream(transport)
        if held := self._splitter.take_held():
            self._stream.feed(held)
        if self._eof_while_holding:
            self._stream.feed_eof()
        if self._reading_held:
            self._reading_held = False
            if not self._stream.reading_paused:
                transport.resume_reading()
        return self._stream

    def request_done(self) -> None:
        """The request under way was answered as HTTP."""
        if self._stream is not None or self._transport is None:
            return
        if passed := self._splitter.request_done():
            self._inner.data_received(passed)
        if self._reading_held:
            self._reading_held = False
            self._transport.resume_reading()
        if self._eof_while_holding:
            self._transport.close()

    def _require_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionResetError("the client is gone")
        return self._transport


class HijackedStream:
    """A raw two-way byte stream over what was an HTTP connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._chunks: list[bytes] = []
        self._size = 0
        self._eof = False
        self._lost_event = asyncio.Event()
        self.reading_paused = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def read(self) -> bytes:
        """What the client has sent since the last call; empty at its end of input or when it is gone."""
        while not self._chunks and not self._eof:
            self._readable.clear()
            await self._readable.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self.reading_paused and not self._lost:
            self.reading_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send, and wait while the client reads too slowly.

        Raises:
            ConnectionResetError: the client is gone.
        """
        self._check()
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()
            self._check()

    async def gone(self) -> None:
        """Returns when the client has closed both directions, whether or not its input is read.

        The end of its input alone says nothing: the CLI half-closes at once when it has no input to
        send. A full close tells itself from a half-close by POLLHUP (unix sockets), else by a failed write.
        """
        while not self._lost and not self._hung_up():
            try:
                async with asyncio.timeout(_HANG_UP_POLL_S):
                    await self._lost_event.wait()
            except TimeoutError:
                continue

    def _hung_up(self) -> bool:
        sock = self._transport.get_extra_info("socket")
        if sock is None or (fd := sock.fileno()) < 0:
            return True
        poller = select.poll()
        poller.register(fd, 0)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poller.poll(0))

    def write_head(self, head: bytes) -> None:
        """The response's head, before anything else."""
        self._check()
        self._transport.write(head)

    async def head_taken(self) -> None:
        """Until the client has read the head, or a moment has passed: long enough for one that waits for a CPU.

        docker-py reads the head through a buffer and the stream from below it, so bytes that arrive together with
        the head are lost to it. To be called where output is ready at once.
        """
        pause = _FIRST_HEAD_POLL_S
        try:
            async with asyncio.timeout(_HEAD_PATIENCE_S):
                while not self._lost and self._unread_bytes():
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_HEAD_POLL_S)
        except TimeoutError:
            return  # a client that reads nothing yet buffers nothing either

    def _unread_bytes(self) -> int:
        """What waits in our transport, and in the kernel for the peer (SIOCOUTQ: unix(7), tcp(7))."""
        waiting = self._transport.get_write_buffer_size()
        sock = self._transport.get_extra_info("socket")
        if waiting or sock is None or (fd := sock.fileno()) < 0:
            return waiting
        (queued,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))
        return int(queued)

    @property
    def _lost(self) -> bool:
        return self._lost_event.is_set()

    def _check(self) -> None:
        if self._lost or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")

    # -- the gate's side

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self._readable.set()
        if self._size > READ_BUFFER_BYTES and not self.reading_paused and not self._lost:
            self.reading_paused = True
            self._transport.pause_reading()

    def feed_eof(self) -> None:
        self._eof = True
        self._readable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self) -> None:
        self._eof = True
        self._lost_event.set()
        self._readable.set()
        self._writable.set()


def _peer_of(transport: asyncio.Transport) -> Peer | None:
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return Peer(*_UCRED.unpack(raw))
