"""The reading end of conmon's sync pipe, on the event loop."""

import asyncio
import os
from collections import deque

from sharedrt.model.faults import Internal
from sharedrt.wire.conmon import ConmonProtocolError, SyncDecoder, SyncMessage


class SyncPipe:
    """Messages as they arrive. One reader at a time; closes itself at the pipe's end."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._decoder = SyncDecoder()
        self._messages: deque[SyncMessage] = deque()
        self._broken: ConmonProtocolError | None = None
        self._news = asyncio.Event()
        self._loop.add_reader(fd, self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        try:
            if data:
                self._messages.extend(self._decoder.receive_data(data))
            else:
                self.close()
                self._decoder.receive_eof()
        except ConmonProtocolError as e:
            self._broken = e
            self.close()
        self._news.set()

    async def next(self) -> SyncMessage | None:
        """The next message; ``None`` at the pipe's end. Cancelling loses nothing.

        Raises:
            Internal: conmon wrote nonsense.
        """
        while not self._messages:
            if self._broken is not None:
                raise Internal("conmon", str(self._broken)) from self._broken
            if self._fd < 0:
                return None
            self._news.clear()
            await self._news.wait()
        return self._messages.popleft()

    def rest(self) -> list[SyncMessage]:
        """What is there now, once the writer has ended. Nonsense counts as nothing."""
        while self._fd >= 0 and self._broken is None:
            before = len(self._messages)
            self._on_readable()
            if len(self._messages) == before and self._fd >= 0:
                break
        found = list(self._messages)
        self._messages.clear()
        return found

    def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._news.set()
