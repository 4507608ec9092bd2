"""Images of content that is in the content store already: imported, loaded, built."""

from collections.abc import Collection, Mapping, Sequence

from sharedrt.model.faults import NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.events import NewEvent
from sharedrt.services.images.documents import Documents, read_documents
from sharedrt.services.images.host import Hold, ImageHost
from sharedrt.services.images.image import Image, PullListener, PullPhase, PullProgress
from sharedrt.services.images.rows import ImageRows
from sharedrt.services.images.tasks import all_of
from sharedrt.services.images.unpack import unpack_layer
from sharedrt.wire.platforms import Platform


class Registrar:
    """Makes images of one namespace. ``own``: blobs that its caller has written itself, under ``hold``."""

    def __init__(
        self, host: ImageHost, store: NamespacedStore, rows: ImageRows, hold: Hold
    ) -> None:
        self._host, self._store, self._rows, self._hold = host, store, rows, hold

    async def documents(
        self,
        target: Descriptor,
        platform: Platform | None,
        name: str,
        *,
        own: Collection[Digest] = (),
        strict: bool = True,
    ) -> Documents:
        """Read an image's documents as far as this namespace may; raises as ``read_documents`` does."""

        async def read(digest: Digest, limit: int) -> bytes:
            await self._check(digest, own)
            return await self._host.content.read(digest, limit=limit)

        return await read_documents(read, target, platform, name, strict=strict)

    async def register(
        self,
        documents: Documents,
        names: Sequence[str],
        *events: NewEvent,
        own: Collection[Digest] = (),
        labels: Mapping[str, str] | None = None,
        tell: PullListener | None = None,
    ) -> Image:
        """Unpack, and write the rows. Raises NotFound (kind ``content``) for a blob that is not this namespace's."""
        for blob in documents.blobs:
            await self._check(blob.digest, own)

        async def unpack(number: int, blob: Descriptor) -> None:
            def extracting(size: int) -> None:
                if tell is not None:
                    tell(PullProgress(blob.digest, PullPhase.EXTRACTING, size, blob.size))

            config = documents.config
            await unpack_layer(
                self._host,
                self._hold,
                blob,
                config.diff_ids[number],
                config.chain_ids()[number],
                extracting,
            )

        await all_of(unpack(number, blob) for number, blob in enumerate(documents.layers))
        return await self._rows.put(documents, names, *events, labels=labels)

    async def _check(self, digest: Digest, own: Collection[Digest]) -> None:
        """As if it were not there, when only another namespace has it."""
        await self._hold.blob(digest)
        if digest not in own and await self._store.read(lambda tx: tx.blobs.get(digest)) is None:
            raise NotFound("content", digest)
