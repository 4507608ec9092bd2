"""Events: stored with the change that they tell of, delivered after its commit."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sharedrt.aio.completion import complete
from sharedrt.model.faults import ResourceExhausted
from sharedrt.model.ids import Namespace
from sharedrt.model.records import EventRecord
from sharedrt.model.stores import NamespacedStore, Transaction

T = TypeVar("T")

MAX_LAG: Final = 4096
"""Events that a subscriber may be behind before it is ended."""
_REPLAY_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event about to be recorded; see :class:`EventRecord` for the words."""

    kind: str
    action: str
    actor: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class _Subscriber:
    """A bounded queue whose reader is told when it lagged."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Namespace, EventRecord]] = deque()
        self._wake = asyncio.Event()
        self._lagged = False

    def offer(self, namespace: Namespace, record: EventRecord) -> None:
        if self._lagged or len(self._queue) >= MAX_LAG:
            self._lagged = True  # and nothing from behind the gap is told
        else:
            self._queue.append((namespace, record))
        self._wake.set()

    async def next(self) -> tuple[Namespace, EventRecord]:
        while not self._queue:
            if self._lagged:
                raise ResourceExhausted("event subscription", f"{MAX_LAG} events behind")
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()


class EventBus:
    """Delivers committed events to live subscribers, of one namespace or of all (the administrator's)."""

    def __init__(self) -> None:
        self._subscribers: dict[_Subscriber, Namespace | None] = {}

    def deliver(self, namespace: Namespace, records: Sequence[EventRecord]) -> None:
        for subscriber, only in self._subscribers.items():
            if only is None or only == namespace:
                for record in records:
                    subscriber.offer(namespace, record)

    @asynccontextmanager
    async def subscription(self, only: Namespace | None) -> AsyncIterator[_Subscriber]:
        subscriber = _Subscriber()
        self._subscribers[subscriber] = only
        try:
            yield subscriber
        finally:
            del self._subscribers[subscriber]


class NamespacedEvents:
    """One namespace's events, and the way by which its services change rows and tell of it."""

    def __init__(self, store: NamespacedStore, bus: EventBus) -> None:
        self._store = store
        self._bus = bus

    async def commit(
        self,
        use_case: Callable[[Transaction], T],
        *events: NewEvent,
        then: Callable[[], object] = lambda: None,
    ) -> T:
        """One transaction: the change and its events; delivered when it is durable, even to a caller that was
        cancelled meanwhile.

        Args:
            then: brings memory up to date, before anybody is told: who follows events reads what they are about.
        """
        return await complete(self._commit(use_case, events, then))

    async def _commit(
        self,
        use_case: Callable[[Transaction], T],
        events: Sequence[NewEvent],
        then: Callable[[], object],
    ) -> T:

        def run(tx: Transaction) -> tuple[T, list[EventRecord]]:
            result = use_case(tx)
            now = time.time_ns()
            return result, [
                tx.events.append(now, e.kind, e.action, e.actor, dict(e.attributes)) for e in events
            ]

        result, records = await self._store.write(run)
        then()
        self._bus.deliver(self._store.namespace, records)
        return result

    async def publish(
        self, kind: str, action: str, actor: str, attributes: Mapping[str, str]
    ) -> EventRecord:
        """Record an event on its own."""

        def run(tx: Transaction) -> EventRecord:
            return tx.events.append(time.time_ns(), kind, action, actor, dict(attributes))

        async def deliver() -> EventRecord:
            record = await self._store.write(run)
            self._bus.deliver(self._store.namespace, [record])
            return record

        return await complete(deliver())

    @asynccontextmanager
    async def subscribe(
        self, *, since_ns: int | None = None, until_ns: int | None = None
    ) -> AsyncIterator[AsyncIterator[EventRecord]]:
        """See :class:`sharedrt.services.contracts.Events`."""
        async with self._bus.subscription(self._store.namespace) as live:
            past: Sequence[EventRecord] = ()
            if since_ns is not None or until_ns is not None:
                since, until = since_ns or 0, time.time_ns() if until_ns is None else until_ns
                past = await self._store.read(
                    lambda tx: tx.events.since(since, until, _REPLAY_LIMIT)
                )
            yield _merge(past, live, until_ns)


async def _merge(
    past: Sequence[EventRecord], live: _Subscriber, until_ns: int | None
) -> AsyncIterator[EventRecord]:
    """The stored ones, then the live ones that were not among them."""
    last = past[-1].sequence if past else -1
    for record in past:
        yield record
    while True:
        left_s = None if until_ns is None else (until_ns - time.time_ns()) / 1e9
        if left_s is not None and left_s <= 0:
            return
        try:
            async with asyncio.timeout(left_s):
                _, record = await live.next()
        except TimeoutError:
            return
        if record.sequence > last:
            yield record
