"""One namespace's image rows, written through the working set: one transaction, then memory, one at a time."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from sharedrt.aio.completion import complete
from sharedrt.model.faults import Fault, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import BlobRecord, Descriptor, ImageRecord, SnapshotRecord
from sharedrt.model.stores import NamespacedStore, Transaction
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.images.documents import Documents, read_documents, reader_of
from sharedrt.services.images.gc import Removed, Roots, sweep
from sharedrt.services.images.host import ImageHost, LayerUsage, layer_directory
from sharedrt.services.images.image import Image
from sharedrt.services.images.library import Library
from sharedrt.services.images.unpack import snapshot_records

log = structlog.get_logger(__name__)

SOURCE_LABEL = "containerd.io/distribution.source."
"""containerd's label of a blob: which registry, and as value which repositories, it came from."""


class ImageRows:
    """Changes queue behind each other, and once begun go to the end."""

    def __init__(
        self, host: ImageHost, store: NamespacedStore, events: NamespacedEvents, library: Library
    ) -> None:
        self._host, self._store, self._events, self._library = host, store, events, library
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Fill the working set. An image whose documents are damaged is logged and left out: a pull mends it, a removal
        removes it."""

        def read(
            tx: Transaction,
        ) -> tuple[Sequence[ImageRecord], Sequence[SnapshotRecord], Sequence[BlobRecord]]:
            return tx.images.list(), tx.snapshots.list(), tx.blobs.list()

        records, snapshots, blobs = await self._store.read(read)
        for snapshot in snapshots:
            usage = LayerUsage(snapshot.size_bytes, snapshot.inodes)
            self._host.note_usage(snapshot.directory, usage)
        for blob in blobs:
            for label in blob.labels:
                if label.startswith(SOURCE_LABEL):
                    self._host.note_served(label.removeprefix(SOURCE_LABEL), blob.digest)
        for record in records:
            try:
                documents = await self.documents_of(record)
            except Fault as fault:
                log.error("image cannot be read", image=record.reference, reason=str(fault))
                self._library.damaged[record.reference] = record
                continue
            # A row comes when all layers have been unpacked, and found to be what the configuration says.
            for layer, diff_id in zip(documents.layers, documents.config.diff_ids, strict=True):
                self._host.note_diff_id(layer.digest, diff_id)
            self._library.put(record, self._image(documents))

    async def put(
        self,
        documents: Documents,
        names: Sequence[str],
        *events: NewEvent,
        labels: Mapping[str, str] | None = None,
        source: tuple[str, str] | None = None,
    ) -> Image:
        """Give an image, whose files are all there and held, its rows and these names.

        An image that so loses its last name keeps its id for one. ``source``: (registry, repository).
        """
        return await complete(self._put(documents, names, events, labels or {}, source))

    async def drop(
        self, references: Sequence[str], *events: NewEvent, unnamed: ImageRecord | None = None
    ) -> None:
        """Remove references; with ``unnamed`` their image stays, named by its id."""
        await complete(self._drop(references, events, unnamed))

    async def set_labels(self, reference: str, labels: Mapping[str, str]) -> ImageRecord:
        """Replace the labels of one reference. Raises NotFound."""
        return await complete(self._set_labels(reference, labels))

    async def sweep(self, only: Roots | None = None, *, grace_s: float = 0.0) -> Removed:
        """Remove rows that nothing in this namespace needs any more, then files that no namespace does.

        Args:
            only: look at these blobs and snapshots alone.
            grace_s: spare blobs that came by themselves (through the content door) less than so long ago.
        """
        return await complete(self._sweep(only, grace_s))

    async def _put(
        self,
        documents: Documents,
        names: Sequence[str],
        events: Sequence[NewEvent],
        labels: Mapping[str, str],
        source: tuple[str, str] | None,
    ) -> Image:
        async with self._lock:
            now = time.time_ns()
            id = documents.config_blob.digest
            facts = self._image(documents)
            blobs = [
                BlobRecord(
                    digest=blob.digest,
                    size=blob.size,
                    media_type=blob.media_type,
                    labels={SOURCE_LABEL + source[0]: source[1]} if source else {},
                    created_ns=now,
                    updated_ns=now,
                )
                for blob in documents.blobs
            ]
            snapshots = snapshot_records(self._host, documents.config.chain_ids())
            named = list(names) or ([] if self._library.find(id) else [str(id)])
            records = [self._record(name, documents, labels, now) for name in named]
            records += self._displaced(named, id)
            others = {
                record.image_id: self._library.facts_of(record)
                for record in records
                if record.image_id != id
            }
            unneeded = str(id) if names and self._library.record(id) else ""

            def use_case(tx: Transaction) -> None:
                for blob in blobs:
                    tx.blobs.grant(blob)
                for snapshot in snapshots:
                    if tx.snapshots.get(snapshot.key) is None:
                        tx.snapshots.add(snapshot)
                for record in records:
                    tx.images.put(record)
                if unneeded:
                    tx.images.delete(unneeded)

            def keep() -> None:
                for record in records:
                    self._library.put(record, others.get(record.image_id, facts))
                if unneeded:
                    self._library.drop(unneeded)

            await self._events.commit(use_case, *events, then=keep)
            return self._library.get(names[0] if names else id)

    def _record(
        self, name: str, documents: Documents, labels: Mapping[str, str], now: int
    ) -> ImageRecord:
        id = documents.config_blob.digest
        old = self._library.record(name)
        if old is not None and old.image_id == id:
            return replace(
                old,
                target=documents.target,
                manifest=documents.manifest.digest,
                labels={**old.labels, **labels},
                updated_ns=now,
            )
        return ImageRecord(
            reference=name,
            target=documents.target,
            image_id=id,
            manifest=documents.manifest.digest,
            labels=dict(labels),
            created_ns=now,
            updated_ns=now,
        )

    def _displaced(self, names: Sequence[str], id: Digest) -> list[ImageRecord]:
        """A record by id for each image whose last names these are, before they move to the image ``id``."""
        found = {}
        for name in names:
            old = self._library.record(name)
            if old is None or old.image_id == id or old.image_id in found:
                continue
            if all(r.reference in names for r in self._library.records_of(old.image_id)):
                found[old.image_id] = replace(old, reference=str(old.image_id))
        return list(found.values())

    async def _drop(
        self, references: Sequence[str], events: Sequence[NewEvent], unnamed: ImageRecord | None
    ) -> None:
        async with self._lock:

            def use_case(tx: Transaction) -> None:
                if unnamed is not None:
                    tx.images.put(unnamed)
                for reference in references:
                    tx.images.delete(reference)

            def keep() -> None:
                if unnamed is not None:
                    self._library.put(unnamed, self._library.facts_of(unnamed))
                for reference in references:
                    self._library.drop(reference)

            await self._events.commit(use_case, *events, then=keep)

    async def _set_labels(self, reference: str, labels: Mapping[str, str]) -> ImageRecord:
        async with self._lock:
            if (old := self._library.record(reference)) is None:
                raise NotFound("image", reference)
            record = replace(old, labels=dict(labels), updated_ns=time.time_ns())
            await self._store.write(lambda tx: tx.images.put(record))
            self._library.put(record, self._library.facts_of(record))
            return record

    async def _sweep(self, only: Roots | None, grace_s: float) -> Removed:
        async with self._lock:
            roots = self._roots()
            removed = await self._store.write(lambda tx: sweep(tx, roots, only, grace_s))
        await self._host.collect(removed.digests, removed.directories)
        return removed

    def _roots(self) -> Roots:
        """What the images of the working set need."""
        roots = Roots(set(), set())
        for record in self._library.damaged.values():
            roots.digests |= {record.image_id, record.target.digest, record.manifest}
        for image in self._library.images():
            roots.snapshots |= set(image.layers)
            for record in self._library.records_of(image.id):
                layers = self._library.facts_of(record).layer_blobs
                roots.digests |= {image.id, record.target.digest, record.manifest}
                roots.digests |= {layer.digest for layer in layers}
        return roots

    async def documents_of(self, record: ImageRecord) -> Documents:
        """What a record stands for, by its own manifest. Raises NotFound (kind ``content``), DataLoss ..."""
        manifest = record.target
        if record.manifest != record.target.digest:
            manifest = Descriptor("", record.manifest, 0)
        read = reader_of(self._host.content)
        documents = await read_documents(read, manifest, None, record.reference)
        if record.manifest == record.target.digest:
            return documents
        return replace(documents, target=record.target)

    def _image(self, documents: Documents) -> Image:
        directories = [layer_directory(key) for key in documents.config.chain_ids()]
        usages = [self._host.usage_of(directory) for directory in directories]
        return documents.image(sum(usage.size_bytes for usage in usages if usage is not None))
