"""One pull: resolve, fetch and unpack in parallel, then all rows at once."""

import asyncio
from dataclasses import dataclass
from typing import Final

from sharedrt.aio.metrics import counter
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import Fault, NotFound
from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.records import Descriptor
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.images.documents import Documents
from sharedrt.services.images.fetch import Fetcher
from sharedrt.services.images.host import Hold, ImageHost
from sharedrt.services.images.image import Image, PullListener, PullPhase, PullProgress
from sharedrt.services.images.library import Library
from sharedrt.services.images.rows import ImageRows
from sharedrt.services.images.tasks import all_of
from sharedrt.services.images.told import image_event
from sharedrt.services.images.unpack import unpack_layer
from sharedrt.wire.platforms import Platform, fits
from sharedrt.wire.reference import Reference

DOWNLOADS_PER_PULL: Final = 3

_PULLS: Final = counter(
    "sharedrt_image_pulls", "Pulls by result: done, cancelled, or the kind of failure.", ("result",)
)


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What is pulled, as whom. Equal requests are one pull."""

    reference: Reference
    platform: Platform
    credentials: Credentials | None


class Puller:
    """Pulls into one namespace."""

    def __init__(
        self, host: ImageHost, store: NamespacedStore, rows: ImageRows, library: Library
    ) -> None:
        self._host, self._store, self._rows, self._library = host, store, rows, library

    async def pull(self, request: PullRequest, tell: PullListener) -> Image:
        """See ``Images.pull``. On failure and cancellation nothing stays but ingests to be resumed."""
        result = "cancelled"
        try:
            image = await self._pull(request, tell)
            result = "done"
        except Fault as fault:
            result = type(fault).__name__
            raise
        finally:
            _PULLS.inc(result)
        return image

    async def _pull(self, request: PullRequest, tell: PullListener) -> Image:
        ref = request.reference
        name = str(ref)
        tell(PullProgress(name, PullPhase.RESOLVING))
        repository = self._host.registry.repository(ref.domain, ref.path, request.credentials)
        try:
            target = await repository.resolve(ref.selector)
        except NotFound as fault:
            raise NotFound("image", name) from fault
        if (known := await self._up_to_date(name, target, request.platform)) is not None:
            tell(PullProgress(name, PullPhase.DIGEST, text=target.digest))
            tell(PullProgress(name, PullPhase.STATUS, text="up to date"))
            return known
        async with self._host.hold() as hold:
            fetcher = Fetcher(self._host, self._store, repository, hold, ref.domain)
            documents = await fetcher.documents(target, request.platform, name)
            await self._layers(fetcher, hold, documents, tell)
            names = [name]
            if ref.digest is None:
                names.append(str(ref.with_digest(documents.target.digest)))
            image = await self._rows.put(
                documents,
                names,
                image_event(
                    "pull",
                    ref.familiar,
                    ref.familiar_name,
                    labels=documents.config.labels,
                    reference=name,
                ),
                source=(ref.domain, ref.path),
            )
        tell(PullProgress(name, PullPhase.DIGEST, text=documents.target.digest))
        tell(PullProgress(name, PullPhase.STATUS, text="downloaded"))
        return image

    async def _up_to_date(self, name: str, target: Descriptor, platform: Platform) -> Image | None:
        """The image that the name stands for here already, if it is this one and whole."""
        record = self._library.record(name)
        if record is None or record.target.digest != target.digest:
            return None
        image = self._library.get(name)
        if not fits(image.config.platform, platform):
            return None
        needed = (image.id, image.manifest, *(layer.digest for layer in image.layer_blobs))
        sizes = [await self._host.content.size(digest) for digest in needed]
        return None if None in sizes else image

    async def _layers(
        self, fetcher: Fetcher, hold: Hold, documents: Documents, tell: PullListener
    ) -> None:
        slots = asyncio.Semaphore(DOWNLOADS_PER_PULL)
        config = documents.config
        chain = config.chain_ids()
        # A blob may appear in several layers of one image (the empty layer does): each has its own chain
        # id and folder, and the blob's ingest makes the second wait for the first.
        for layer in documents.layers:
            tell(PullProgress(layer.digest, PullPhase.PULLING_FS_LAYER, total=layer.size))
        await all_of(
            self._layer(fetcher, hold, layer, diff_id, key, slots, tell)
            for layer, diff_id, key in zip(documents.layers, config.diff_ids, chain, strict=True)
        )

    async def _layer(
        self,
        fetcher: Fetcher,
        hold: Hold,
        layer: Descriptor,
        diff_id: Digest,
        key: SnapshotKey,
        slots: asyncio.Semaphore,
        tell: PullListener,
    ) -> None:
        def downloading(size: int) -> None:
            tell(PullProgress(layer.digest, PullPhase.DOWNLOADING, size, layer.size))
            if size >= layer.size:
                tell(PullProgress(layer.digest, PullPhase.VERIFYING))

        def extracting(size: int) -> None:
            tell(PullProgress(layer.digest, PullPhase.EXTRACTING, size, layer.size))

        async with slots, self._host.downloads:
            fetched = await fetcher.blob(layer, downloading)
        if fetched:
            tell(PullProgress(layer.digest, PullPhase.DOWNLOAD_COMPLETE))
        unpacked = await unpack_layer(self._host, hold, layer, diff_id, key, extracting)
        done = PullPhase.PULL_COMPLETE if fetched or unpacked else PullPhase.ALREADY_EXISTS
        tell(PullProgress(layer.digest, done))
