"""A namespace's view of the content store (:class:`sharedrt.services.contracts.Content`)."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TypeAlias

from sharedrt.model.drivers import ContentStore, Ingest
from sharedrt.model.faults import NotFound, Unavailable
from sharedrt.model.ids import Digest, LeaseId
from sharedrt.model.records import BlobRecord, LeaseRecord
from sharedrt.model.stores import NamespacedStore, Transaction
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.images import ImageHost

_Resources: TypeAlias = tuple[tuple[str, str], ...]


class ContentService:
    """Blobs by digest, as far as this namespace has access to them."""

    def __init__(self, store: NamespacedStore, host: ImageHost, events: NamespacedEvents) -> None:
        self._store, self._host, self._events = store, host, events
        self._content: ContentStore = host.content

    async def info(self, digest: Digest) -> BlobRecord:
        record = await self._store.read(lambda tx: tx.blobs.get(digest))
        if record is None:
            raise NotFound("content", digest)
        return record

    async def list(self) -> Sequence[BlobRecord]:
        return await self._store.read(lambda tx: tx.blobs.list())

    async def read(
        self, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        await self.info(digest)
        async for chunk in self._content.stream(digest, offset=offset, length=length):
            yield chunk

    async def set_labels(self, digest: Digest, labels: Mapping[str, str]) -> BlobRecord:
        return await self._store.write(lambda tx: tx.blobs.set_labels(digest, dict(labels)))

    async def delete(self, digest: Digest) -> None:
        def revoke(tx: Transaction) -> None:
            if not tx.blobs.revoke(digest):
                raise NotFound("content", digest)

        await self._events.commit(revoke, NewEvent("content", "delete", digest))

    def ingest(self, reference: str) -> AbstractAsyncContextManager[Ingest]:
        return self._content.ingest(f"{self._store.namespace}/{reference}")

    async def grant(self, digest: Digest, size: int, labels: Mapping[str, str]) -> BlobRecord:
        record = BlobRecord(digest, size, labels=dict(labels), created_ns=time.time_ns())
        async with self._host.hold() as hold:
            await hold.blob(digest)
            if await self._content.size(digest) is None:
                # Sealed, and nobody's yet, as the collector came by.
                raise Unavailable(f"content {digest}", "was collected as garbage: write it again")
            return await self._events.commit(
                lambda tx: tx.blobs.grant(record), NewEvent("content", "create", digest)
            )


class LeaseService:
    """A namespace's leases (:class:`sharedrt.services.contracts.Leases`)."""

    def __init__(self, store: NamespacedStore) -> None:
        self._store = store

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        return await self._store.write(lambda tx: tx.leases.add(record))

    async def delete(self, id: LeaseId) -> None:
        def delete(tx: Transaction) -> None:
            if not tx.leases.delete(id):
                raise NotFound("lease", id)

        await self._store.write(delete)

    async def list(self) -> Sequence[LeaseRecord]:
        return await self._store.read(lambda tx: tx.leases.list())

    async def add_resource(self, id: LeaseId, kind: str, resource: str) -> None:
        await self._edit(
            id, lambda old: (*(r for r in old if r != (kind, resource)), (kind, resource))
        )

    async def delete_resource(self, id: LeaseId, kind: str, resource: str) -> None:
        await self._edit(id, lambda old: tuple(r for r in old if r != (kind, resource)))

    async def _edit(self, id: LeaseId, edit: Callable[[_Resources], _Resources]) -> None:
        def change(tx: Transaction) -> None:
            lease = tx.leases.get(id)
            if lease is None:
                raise NotFound("lease", id)
            tx.leases.put(replace(lease, resources=edit(lease.resources)))

        await self._store.write(change)
