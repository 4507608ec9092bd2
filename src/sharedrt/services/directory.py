"""Which namespaces there are, and the view over all of them."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from sharedrt.model.faults import (
    FailedPrecondition,
    NotFound,
)
from sharedrt.model.ids import DOCKER_NAMESPACE, K8S_NAMESPACE, Namespace
from sharedrt.model.records import (
    EventRecord,
    NamespaceRecord,
)
from sharedrt.model.stores import Database, GlobalTransaction
from sharedrt.services.events import EventBus

log = structlog.get_logger(__name__)


class NamespaceDirectory:
    """The administrator's view (:class:`sharedrt.services.contracts.AllNamespaces`)."""

    def __init__(self, database: Database, bus: EventBus) -> None:
        self._database, self._bus = database, bus
        self._records: dict[Namespace, NamespaceRecord] = {}

    async def load(self) -> None:
        records = await self._database.read_global(lambda tx: tx.namespaces())
        self._records = {record.name: record for record in records}

    def names(self) -> Sequence[Namespace]:
        return list(self._records)

    async def list(self) -> Sequence[NamespaceRecord]:
        await self.load()
        return list(self._records.values())

    async def create(self, name: Namespace, labels: Mapping[str, str]) -> NamespaceRecord:
        record = NamespaceRecord(name, dict(labels), created_ns=time.time_ns())
        record = await self._database.write_global(lambda tx: tx.add_namespace(record))
        self._records[name] = record
        return record

    async def set_labels(self, name: Namespace, labels: Mapping[str, str]) -> NamespaceRecord:
        record = await self._database.write_global(
            lambda tx: tx.set_namespace_labels(name, dict(labels))
        )
        self._records[name] = record
        return record

    async def delete(self, name: Namespace) -> None:
        if name in (K8S_NAMESPACE, DOCKER_NAMESPACE):
            raise FailedPrecondition("namespace", name, "belongs to a door of this daemon")

        def delete(tx: GlobalTransaction) -> None:
            if all(record.name != name for record in tx.namespaces()):
                raise NotFound("namespace", name)
            tx.delete_namespace(name)

        await self._database.write_global(delete)
        self._records.pop(name, None)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[tuple[Namespace, EventRecord]]]:
        async with self._bus.subscription(None) as live:

            async def events() -> AsyncIterator[tuple[Namespace, EventRecord]]:
                while True:
                    yield await live.next()

            yield events()
