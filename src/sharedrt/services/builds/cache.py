"""What builds have made before: steps by what they came of, and the folders of cache mounts."""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sharedrt.model.drivers import HostFiles, VolumeFolders
from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.records import BuildCacheRecord, BuildStepRecord, Json, SnapshotRecord
from sharedrt.model.stores import NamespacedStore, Transaction
from sharedrt.services.images import Composer, Images, NewLayer
from sharedrt.services.layout import Layout
from sharedrt.services.logged import logged


def step_key(*parts: Json) -> str:
    """The name of a step: a digest of all that its result depends on."""
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One line of ``docker builder`` lists. ``kind``: the Engine API's ``regular`` or ``exec.cachemount``.

    ``shared``: an image has its layer, too, so that nothing is gained by removing it.
    """

    id: str
    kind: str
    description: str
    parent: str
    size_bytes: int
    created_ns: int
    last_used_ns: int
    uses: int
    in_use: bool
    shared: bool


class BuildCache:
    """Of one namespace. Rows are the truth; what builds under way use is kept from removal."""

    def __init__(
        self,
        layout: Layout,
        store: NamespacedStore,
        images: Images,
        host: HostFiles,
        folders: VolumeFolders,
    ) -> None:
        self._layout, self._store, self._images = layout, store, images
        self._host, self._folders = host, folders
        self._in_use: Counter[str] = Counter()
        self.removing = asyncio.Lock()
        """Held while rows go: who wants to use one waits, and then finds it or not."""

    @contextmanager
    def using(self) -> Iterator["CacheUse"]:
        """One build's use of the cache."""
        use = CacheUse(self, self._store, self._in_use)
        try:
            yield use
        finally:
            use.let_go()

    async def entries(self) -> list[CacheEntry]:
        """All, oldest first."""
        steps, caches = await self._store.read(
            lambda tx: (tx.build_steps.list(), tx.build_caches.list())
        )
        needed = {key for image in self._images.list() for key in image.layers}
        found = [self._step_entry(step, needed) for step in steps]
        for cache in caches:
            usage = await self._folders.usage(self._layout.build_cache(cache.id))
            found.append(
                CacheEntry(
                    id=cache.id,
                    kind="exec.cachemount",
                    description=f"cache mount {cache.name}",
                    parent="",
                    size_bytes=usage.size_bytes,
                    created_ns=cache.created_ns,
                    last_used_ns=cache.last_used_ns,
                    uses=cache.uses,
                    in_use=self._in_use[cache.id] > 0,
                    shared=False,
                )
            )
        return found

    def _step_entry(self, step: BuildStepRecord, needed: Collection[SnapshotKey]) -> CacheEntry:
        return CacheEntry(
            id=step.key,
            kind="regular",
            description=step.description,
            parent=step.parent,
            size_bytes=step.size_bytes,
            created_ns=step.created_ns,
            last_used_ns=step.last_used_ns,
            uses=step.uses,
            in_use=self._in_use[step.key] > 0,
            shared=step.snapshot_key in needed,
        )

    async def remove(self, doomed: Iterable[CacheEntry]) -> tuple[list[str], int]:
        """Remove entries that no build uses at the moment; their ids, and the bytes gained."""
        async with self.removing:
            chosen = [entry for entry in doomed if not self._in_use[entry.id]]
            steps = [entry.id for entry in chosen if entry.kind == "regular"]
            caches = [entry.id for entry in chosen if entry.kind != "regular"]
            digests: set[Digest] = set()
            snapshots: set[SnapshotKey] = set()

            def delete(tx: Transaction) -> None:
                ancestors = {record.key: record.parent for record in tx.snapshots.list()}
                for key in steps:
                    if (step := tx.build_steps.get(key)) is None:
                        continue
                    digests.update(layer.digest for layer in step.layers)
                    snapshot = step.snapshot_key
                    while snapshot is not None and snapshot not in snapshots:
                        snapshots.add(snapshot)
                        snapshot = ancestors.get(snapshot)
                    tx.build_steps.delete(key)
                for id in caches:
                    tx.build_caches.delete(id)

            await self._store.write(delete)
            for id in caches:
                await self._host.remove_tree(self._layout.build_cache(id))
        if steps:
            await self._images.release(digests, snapshots)
        gained = sum(entry.size_bytes for entry in chosen if not entry.shared)
        return [entry.id for entry in chosen], gained

    async def collect(self, max_bytes: int, max_age_s: float) -> None:
        """Remove what has not been used for long, then the longest unused, until the rest fits."""
        entries = sorted(await self.entries(), key=lambda entry: entry.last_used_ns)
        oldest = time.time_ns() - int(max_age_s * 1e9)
        total = sum(entry.size_bytes for entry in entries if not entry.shared)
        doomed = []
        for entry in entries:
            if entry.last_used_ns >= oldest and total <= max_bytes:
                break
            doomed.append(entry)
            total -= 0 if entry.shared else entry.size_bytes
        if doomed:
            await self.remove(doomed)

    async def recover(self) -> None:
        """At start-up: remove folders that no row names."""
        known = await self._store.read(lambda tx: {cache.id for cache in tx.build_caches.list()})
        root = self._layout.build_cache("")
        for name in await self._host.names(root):
            if name not in known:
                with logged("cannot remove a build cache's folder", path=str(root / name)):
                    await self._host.remove_tree(root / name)


class CacheUse:
    """What one build has found or put there, so that it stays until the build is over."""

    def __init__(self, cache: BuildCache, store: NamespacedStore, in_use: "Counter[str]") -> None:
        self._cache, self._store, self._in_use = cache, store, in_use
        self._mine: Counter[str] = Counter()
        self._hits: set[str] = set()

    def take(self, id: str) -> None:
        self._in_use[id] += 1
        self._mine[id] += 1

    def let_go(self) -> None:
        self._in_use.subtract(self._mine)
        for id in self._mine:
            if not self._in_use[id]:
                del self._in_use[id]
        self._mine.clear()

    async def find(self, key: str) -> BuildStepRecord | None:
        """The step, which stays until the build is over."""
        async with self._cache.removing:
            self.take(key)
        record = await self._store.read(lambda tx: tx.build_steps.get(key))
        if record is not None:
            self._hits.add(key)
        return record

    async def put(
        self, record: BuildStepRecord, layers: Sequence[NewLayer], composer: Composer, *, new: bool
    ) -> None:
        """Remember a step. ``new``: its topmost layer was made by it, and is unpacked."""
        self.take(record.key)
        blob, snapshots = None, list[SnapshotRecord]()
        if new:
            blob, snapshots = composer.rows(layers)

        def use_case(tx: Transaction) -> None:
            if blob is not None:
                tx.blobs.grant(blob)
            for snapshot in snapshots:
                if tx.snapshots.get(snapshot.key) is None:
                    tx.snapshots.add(snapshot)
            tx.build_steps.put(record)

        await self._store.write(use_case)

    async def mount(self, id: str, name: str) -> None:
        """A cache mount's row, before its folder."""
        async with self._cache.removing:
            self.take(id)
        now = time.time_ns()

        def use_case(tx: Transaction) -> None:
            old = tx.build_caches.get(id)
            record = BuildCacheRecord(id, name, created_ns=now) if old is None else old
            tx.build_caches.put(replace(record, last_used_ns=now, uses=record.uses + 1))

        await self._store.write(use_case)

    async def note_hits(self) -> None:
        """Write down which steps were of use again."""
        hits, now = self._hits, time.time_ns()
        self._hits = set()
        if not hits:
            return

        def use_case(tx: Transaction) -> None:
            for key in hits:
                if (record := tx.build_steps.get(key)) is not None:
                    tx.build_steps.put(replace(record, last_used_ns=now, uses=record.uses + 1))

        await self._store.write(use_case)
