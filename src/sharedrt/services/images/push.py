"""Pushing an image: its blobs in parallel, then the manifest, as the bytes that were pulled or built."""

from sharedrt.model.drivers import Credentials, Repository
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.images.documents import MAX_MANIFEST_BYTES, read_documents, reader_of
from sharedrt.services.images.host import ImageHost
from sharedrt.services.images.image import PushListener, PushPhase, PushProgress
from sharedrt.services.images.library import Library
from sharedrt.services.images.rows import SOURCE_LABEL, ImageRows
from sharedrt.services.images.tasks import all_of
from sharedrt.services.images.told import image_event
from sharedrt.wire.reference import Reference, parse_reference


class Pusher:
    """Pushes from one namespace."""

    def __init__(
        self, host: ImageHost, store: NamespacedStore, rows: ImageRows, library: Library
    ) -> None:
        self._host, self._store, self._rows, self._library = host, store, rows, library

    async def push(self, text: str, credentials: Credentials | None, tell: PushListener) -> Digest:
        """See ``Images.push``."""
        ref = parse_reference(text)
        if self._library.record(str(ref)) is None:
            raise NotFound("image", str(ref))
        content = self._host.content
        repository = self._host.registry.repository(ref.domain, ref.path, credentials, push=True)
        async with self._host.hold() as hold:
            await hold.image(self._library.get(str(ref)))
            image = self._library.get(str(ref))
            # Of an index only this platform's manifest is here for sure, so that is what goes out.
            data = await content.read(image.manifest, limit=MAX_MANIFEST_BYTES)
            target = Descriptor("", image.manifest, len(data))
            documents = await read_documents(reader_of(content), target, None, str(ref))
            target = documents.target
            # Docker's clients see layers alone.
            config = documents.config_blob
            tellers = {blob.digest: tell for blob in documents.layers} | {
                config.digest: _tell_nobody
            }
            blobs = [blob for blob in documents.blobs if blob.digest != target.digest]
            await all_of(self._blob(repository, ref, blob, tellers[blob.digest]) for blob in blobs)
            digest = await repository.push_manifest(
                ref.tag or target.digest, target.media_type, data
            )
            for blob in documents.blobs:
                self._host.note_served(ref.domain, blob.digest)
            event = image_event(
                "push",
                ref.familiar,
                ref.familiar_name,
                labels=documents.config.labels,
                reference=str(ref),
            )
            # Removed meanwhile, the image must not come back by this.
            if self._library.record(str(ref)) is not None:
                names = [str(ref.with_digest(digest))]
                await self._rows.put(documents, names, event, source=(ref.domain, ref.path))
        tell(PushProgress(str(ref), PushPhase.DIGEST, text=digest, total=len(data)))
        return digest

    async def _blob(
        self, repository: Repository, ref: Reference, blob: Descriptor, tell: PushListener
    ) -> None:
        def sent(size: int) -> None:
            tell(PushProgress(blob.digest, PushPhase.PUSHING, size, blob.size))

        tell(PushProgress(blob.digest, PushPhase.PREPARING, total=blob.size))
        async with self._host.uploads:
            uploaded = await repository.push_blob(
                blob,
                lambda: self._host.content.stream(blob.digest),
                mount_from=await self._other_repository(ref, blob.digest),
                progress=sent,
            )
        phase = PushPhase.PUSHED if uploaded else PushPhase.ALREADY_EXISTS
        tell(PushProgress(blob.digest, phase, blob.size, blob.size))

    async def _other_repository(self, ref: Reference, digest: Digest) -> str:
        """Another repository of that registry from which this namespace has the blob."""
        record = await self._store.read(lambda tx: tx.blobs.get(digest))
        other = record.labels.get(SOURCE_LABEL + ref.domain, "") if record is not None else ""
        return "" if other == ref.path else other


def _tell_nobody(_: PushProgress) -> None:
    return None
