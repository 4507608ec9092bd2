"""A bounded queue of a process's output, read by one client."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from sharedrt.model.stdio import StdStream

MAX_READ: Final = 64 << 10


class OutputQueue:
    """Packets in by ``put``, merged reads out. Counts bytes; what to do when it is full is the owner's choice."""

    def __init__(self, on_room: Callable[[], None] = lambda: None) -> None:
        self._packets: deque[tuple[StdStream, bytes]] = deque()
        self._news = asyncio.Event()
        self._on_room = on_room
        self._error: Exception | None = None
        self._ended = False
        self.size_bytes = 0

    def put(self, stream: StdStream, data: bytes) -> None:
        self._packets.append((stream, data))
        self.size_bytes += len(data)
        self._news.set()

    def end(self, error: Exception | None = None) -> None:
        """No more output; a reader gets the rest, then ``None`` or the error. The first call counts."""
        if not self._ended:
            self._ended, self._error = True, error
            self._news.set()

    def clear(self) -> None:
        self._packets.clear()
        self.size_bytes = 0

    async def read(self) -> tuple[StdStream, bytes] | None:
        """The next output of one stream, at most 64 KiB; ``None`` after the last. Cancelling loses nothing."""
        while not self._packets:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._news.clear()
            await self._news.wait()
        stream, data = self._packets.popleft()
        parts, size = [data], len(data)
        while (
            self._packets
            and self._packets[0][0] is stream
            and size + len(self._packets[0][1]) <= MAX_READ
        ):
            parts.append(self._packets.popleft()[1])
            size += len(parts[-1])
        self.size_bytes -= size
        self._on_room()
        return stream, parts[0] if len(parts) == 1 else b"".join(parts)
