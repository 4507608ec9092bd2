"""Events that clients publish at this door, for those that listen at this door.

As in containerd they are delivered live and kept nowhere; our own events, which are kept, are the services'.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from sharedrt.model.faults import ResourceExhausted
from sharedrt.pb.containerd.types import Envelope

MAX_LAG: Final = 1024


class _Listener:
    def __init__(self) -> None:
        self._queue: deque[Envelope] = deque()
        self._wake = asyncio.Event()
        self._lagged = False

    def offer(self, envelope: Envelope) -> None:
        if len(self._queue) < MAX_LAG:
            self._queue.append(envelope)
        else:
            self._lagged = True
        self._wake.set()

    async def envelopes(self) -> AsyncIterator[Envelope]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._lagged:
                raise ResourceExhausted("event subscription", f"{MAX_LAG} events behind")
            self._wake.clear()
            await self._wake.wait()


class PublishedEvents:
    """A bounded queue for each listener; one that lags behind is ended with ResourceExhausted."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()

    def publish(self, envelope: Envelope) -> None:
        for listener in self._listeners:
            listener.offer(envelope)

    @contextmanager
    def listen(self) -> Iterator[AsyncIterator[Envelope]]:
        listener = _Listener()
        self._listeners.add(listener)
        try:
            yield listener.envelopes()
        finally:
            self._listeners.discard(listener)
