"""From a registry into the content store: an image's documents and layers, for one namespace.

A blob that another namespace has fetched is not downloaded again, but only used after the registry has
said, to this client's own credentials, that it may read it. That word counts only from a registry that has
served these very bytes before: another one could claim to know what it has merely heard the digest of.
"""

from collections.abc import Callable
from dataclasses import replace

from sharedrt.model.drivers import Repository
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.images.documents import (
    MAX_CONFIG_BYTES,
    Documents,
    check_config,
    choose_manifest,
    parsed,
)
from sharedrt.services.images.host import Hold, ImageHost
from sharedrt.wire.oci_image import Index, parse_config, parse_target
from sharedrt.wire.platforms import Platform


class Fetcher:
    """Fetches from one repository, as one client, for one namespace."""

    def __init__(
        self,
        host: ImageHost,
        store: NamespacedStore,
        repository: Repository,
        hold: Hold,
        domain: str,
    ) -> None:
        self._host, self._store, self._repository = host, store, repository
        self._hold, self._domain = hold, domain

    async def documents(
        self, target: Descriptor, platform: Platform | None, name: str
    ) -> Documents:
        """Fetch index, manifest and configuration. Raises as ``read_documents`` does, and the registry's faults."""
        document = await parsed(parse_target, await self._manifest(target), target.media_type)
        manifest = target = replace(target, media_type=document.media_type)
        if isinstance(document, Index):
            if platform is None:
                raise InvalidArgument("manifest", target.digest, "is an index")
            manifest = choose_manifest(document, platform, name)
            data = await self._manifest(manifest)
            document = await parsed(parse_target, data, manifest.media_type)
            if isinstance(document, Index):
                raise InvalidArgument("index", target.digest, "an index inside an index")
        if document.config.size > MAX_CONFIG_BYTES:
            raise InvalidArgument("image configuration", document.config.size, "over 8 MiB")
        await self.blob(document.config)
        raw = await self._host.content.read(document.config.digest, limit=MAX_CONFIG_BYTES)
        config = await parsed(parse_config, raw)
        check_config(document, config, platform, name)
        return Documents(target, manifest, document.layers, document.config, config)

    async def blob(
        self, descriptor: Descriptor, progress: Callable[[int], None] | None = None
    ) -> bool:
        """Have a blob, verified; False when it was there and this namespace may use it."""
        await self._hold.blob(descriptor.digest)
        if await self._usable(descriptor):
            return False
        content = self._host.content
        async with content.ingest(self._ingest_name(descriptor.digest)) as ingest:
            # Another pull of this namespace may have fetched it while this one waited for the ingest.
            if await self._usable(descriptor):
                return False
            await self._repository.fetch_blob(descriptor, ingest, progress=progress)
            await ingest.commit(descriptor.digest, descriptor.size)
        self._host.note_served(self._domain, descriptor.digest)
        return True

    async def _manifest(self, descriptor: Descriptor) -> bytes:
        """A manifest's bytes: always the registry's own answer unless this namespace has it."""
        content = self._host.content
        await self._hold.blob(descriptor.digest)
        if await content.size(descriptor.digest) is not None and await self._has(descriptor.digest):
            return await content.read(descriptor.digest)
        data = await self._repository.manifest(descriptor)
        async with content.ingest(self._ingest_name(descriptor.digest)) as ingest:
            await ingest.truncate()
            await ingest.write(data)
            await ingest.commit(descriptor.digest, len(data))
        return data

    async def _usable(self, descriptor: Descriptor) -> bool:
        digest = descriptor.digest
        if await self._host.content.size(digest) != descriptor.size:
            return False
        if await self._has(digest):
            return True
        return self._host.was_served(self._domain, digest) and await self._repository.has_blob(
            digest
        )

    async def _has(self, digest: Digest) -> bool:
        return await self._store.read(lambda tx: tx.blobs.get(digest)) is not None

    def _ingest_name(self, digest: Digest) -> str:
        """By namespace: what one has fetched half must not be completed by another."""
        return f"{self._store.namespace}/{digest}"
