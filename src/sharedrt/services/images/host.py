"""What the images of all namespaces share on this host: files, and who uses them at the moment.

The safety of removal rests on three rules, all inside this one process:

1. Rows come last and go first. An operation writes all its rows in one transaction when every file is in
   place; a removal deletes rows, and the files only when no namespace has a row for them.
2. An operation *holds* the names of the files that it relies on (``Hold``) from before it looks for them
   until its rows are committed. The collector passes over held files.
3. Taking a hold waits for a removal of that very file that is under way, so 'it is there' stays true.

A crash loses the holds, and with them nothing but files that no row owns: the collector at start-up finds
those. So no lease row is needed, and none is left over.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.priority import thread_pool
from sharedrt.model.drivers import ContentStore, LayerUnpacker, Registry, Snapshotter
from sharedrt.model.faults import Fault
from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.stores import Database, GlobalTransaction
from sharedrt.services.images.image import Image

log = structlog.get_logger(__name__)

STALE_INGEST_S: Final = 24 * 3600.0
K = TypeVar("K")
V = TypeVar("V")

_MAX_REMEMBERED: Final = 100_000


def layer_directory(chain_id: SnapshotKey) -> str:
    """The folder of a committed layer: a function of its chain id alone, so shared by all namespaces."""
    return chain_id.replace(":", "-")


@dataclass(frozen=True, slots=True)
class LayerUsage:
    size_bytes: int
    inodes: int


class Hold:
    """Names of files that an operation relies on. Made by :meth:`ImageHost.hold`."""

    def __init__(self, host: "ImageHost") -> None:
        self._host = host
        self.digests: set[Digest] = set()
        self.directories: set[str] = set()

    async def blob(self, digest: Digest) -> None:
        """From now on a blob of this digest, once there, stays there."""
        if digest not in self.digests:
            self.digests.add(digest)
            await self._host.take(digest)

    async def layer(self, directory: str) -> None:
        """The same for a layer's folder."""
        if directory not in self.directories:
            self.directories.add(directory)
            await self._host.take(directory)

    async def image(self, image: Image) -> None:
        """All of an image: whoever finds it still in the working set after this has it whole."""
        for digest in (image.target.digest, image.manifest, image.id):
            await self.blob(digest)
        for layer in image.layer_blobs:
            await self.blob(layer.digest)
        for key in image.layers:
            await self.layer(layer_directory(key))


class ImageHost:
    """Built once by the daemon and given to every namespace's ``Images``.

    Args:
        max_downloads: layers downloaded at once by all pulls together; each pull does at most 3.
        image_bytes_max: of an archive, and of what a layer unpacks to.
    """

    def __init__(
        self,
        database: Database,
        content: ContentStore,
        snapshotter: Snapshotter,
        unpacker: LayerUnpacker,
        registry: Registry,
        *,
        max_downloads: int = 9,
        max_uploads: int = 5,
        image_bytes_max: int = 64 << 30,
    ) -> None:
        self.content, self.snapshotter = content, snapshotter
        self.unpacker, self.registry = unpacker, registry
        self.downloads = asyncio.Semaphore(max_downloads)
        self.uploads = asyncio.Semaphore(max_uploads)
        self.image_bytes_max = image_bytes_max
        self._database = database
        self._held: Counter[str] = Counter()
        self._removing = KeyedLocks()
        self._collecting = asyncio.Lock()
        self.hashing = KeyedLocks()
        self.hash_threads = thread_pool(2, "layer-hash")
        """A big image's layers take them for minutes: not the threads that all else needs."""
        self._served: dict[tuple[str, Digest], None] = {}
        self._diff_ids: dict[Digest, Digest] = {}
        self._usage: dict[str, LayerUsage] = {}

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[Hold]:
        """A hold, let go at the end. What it held and no row owns by then is removed when that end is a failure."""
        hold = Hold(self)
        try:
            yield hold
        except BaseException:
            self._let_go(hold)
            try:
                await self.collect(hold.digests, hold.directories)
            except Fault as fault:
                # The first error is the one to tell; the next collection takes what is left.
                log.warning("could not clean up after a failed image operation", reason=str(fault))
            raise
        self._let_go(hold)

    async def take(self, name: str) -> None:
        self._held[name] += 1
        async with self._removing.hold(name):
            return

    def _let_go(self, hold: Hold) -> None:
        self._held.subtract(hold.digests)
        self._held.subtract(hold.directories)
        self._held = +self._held

    async def collect(
        self, digests: Collection[Digest] = (), directories: Collection[str] = ()
    ) -> None:
        """Remove those of the given blobs and layer folders that no namespace has, and nobody holds."""
        async with self._collecting, AsyncExitStack() as locks:
            for name in sorted({*digests, *directories}):
                await locks.enter_async_context(self._removing.hold(name))
            free_digests = [digest for digest in digests if not self._held[digest]]
            free_directories = [name for name in directories if not self._held[name]]

            def forget(tx: GlobalTransaction) -> tuple[set[Digest], set[str]]:
                for digest in free_digests:
                    tx.forget_blob(digest)
                return {blob.digest for blob in tx.known_blobs()}, set(tx.layer_directories())

            if not (free_digests or free_directories):
                return
            known, owned = await self._database.write_global(forget)
            for digest in free_digests:
                if digest not in known:
                    await self.content.delete(digest)
                    self._diff_ids.pop(digest, None)
            for name in free_directories:
                if name not in owned:
                    await self.snapshotter.remove_layer(name)
                    self._usage.pop(name, None)

    # ------------------------------------------------------------ what was seen to be true

    def note_served(self, domain: str, digest: Digest) -> None:
        """A registry has given, or been given, all bytes of this blob: its word about it is worth something."""
        _remember(self._served, (domain, digest), None)

    def was_served(self, domain: str, digest: Digest) -> bool:
        return (domain, digest) in self._served

    def note_diff_id(self, blob: Digest, diff_id: Digest) -> None:
        _remember(self._diff_ids, blob, diff_id)

    def diff_id_of(self, blob: Digest) -> Digest | None:
        """Of a layer's blob, if it was unpacked or hashed by this process, or an image's row tells of it."""
        return self._diff_ids.get(blob)

    def note_usage(self, directory: str, usage: LayerUsage) -> None:
        _remember(self._usage, directory, usage)

    def usage_of(self, directory: str) -> LayerUsage | None:
        return self._usage.get(directory)


async def collect_orphans(host: ImageHost, database: Database) -> None:
    """Remove every blob, layer folder and stale ingest that no namespace's row owns and no operation holds.

    At start-up, after a crash may have left some, and now and then after that.
    """
    orphans = await database.read_global(lambda tx: [b.digest for b in tx.orphaned_blobs()])
    known = await database.read_global(lambda tx: {b.digest for b in tx.known_blobs()})
    owned = await database.read_global(lambda tx: set(tx.layer_directories()))
    unknown = [digest for digest in await host.content.digests() if digest not in known]
    directories = [name for name in await host.snapshotter.layers_on_disk() if name not in owned]
    if orphans or unknown or directories:
        log.info(
            "removing what no namespace owns",
            blobs=len(orphans) + len(unknown),
            layers=len(directories),
        )
        await host.collect({*orphans, *unknown}, directories)
    await host.content.discard_ingests(idle_s=STALE_INGEST_S)


def _remember(table: dict[K, V], key: K, value: V) -> None:
    table.pop(key, None)
    table[key] = value
    if len(table) > _MAX_REMEMBERED:
        del table[next(iter(table))]
