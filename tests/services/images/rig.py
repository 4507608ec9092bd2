"""The image service over the real store, content store, snapshotter, unpacker and registry client."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sharedrt.drivers.content import FileContentStore
from sharedrt.drivers.overlay.snapshotter import OverlaySnapshotter
from sharedrt.drivers.registry import HttpRegistry
from sharedrt.drivers.unpack.unpacker import ChrootUnpacker
from sharedrt.model.ids import Namespace
from sharedrt.services.events import EventBus, NamespacedEvents
from sharedrt.services.images import ImageHost, Images, collect_orphans
from sharedrt.store.database import SqliteDatabase

A, B = Namespace("k8s.io"), Namespace("moby")


class Rig:
    """Namespaces' images over one host; what is on its disk can be asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.certs_d = root / "certs.d"
        self.certs_d.mkdir(parents=True, exist_ok=True)
        self._stack = AsyncExitStack()
        self._services: dict[Namespace, Images] = {}

    async def start(self, *, stall_timeout_s: float = 5.0, insecure: Sequence[str] = ()) -> None:
        self.database = await self._stack.enter_async_context(
            await SqliteDatabase.open(self.root / "test.db")
        )
        self.content = FileContentStore(self.root / "content")
        self.snapshotter = OverlaySnapshotter(self.root / "snapshots")
        await self.snapshotter.start()
        self._stack.push_async_callback(self.snapshotter.aclose)
        self.registry = HttpRegistry(
            [self.certs_d], insecure=insecure, stall_timeout_s=stall_timeout_s
        )
        self._stack.push_async_callback(self.registry.aclose)
        unpacker = ChrootUnpacker(idle_s=0.1)
        self._stack.push_async_callback(unpacker.aclose)
        self.host = ImageHost(
            self.database, self.content, self.snapshotter, unpacker, self.registry
        )
        self.bus = EventBus()

    async def within(self, namespace: Namespace) -> Images:
        if namespace not in self._services:
            store = self.database.within(namespace)
            events = NamespacedEvents(store, self.bus)
            images = Images(self.host, store, events, "linux/amd64")
            await images.start()
            self._stack.push_async_callback(images.aclose)
            self._services[namespace] = images
        return self._services[namespace]

    async def stop(self) -> None:
        await self._stack.aclose()
        self._services.clear()

    async def collect(self) -> None:
        await collect_orphans(self.host, self.database)

    def mirror(self, domain: str, url: str) -> None:
        (self.certs_d / domain).mkdir(exist_ok=True)
        (self.certs_d / domain / "hosts.toml").write_text(
            f'[host."{url}"]\ncapabilities = ["pull", "resolve"]\n'
        )

    async def leftovers(self) -> dict[str, list[str]]:
        """All that images leave on disk and in rows, by kind; nothing of it when nothing is there."""
        found: dict[str, list[str]] = {
            "blobs": [str(digest) for digest in await self.content.digests()],
            "layers": list(await self.snapshotter.layers_on_disk()),
            "scratch": [p.name for p in (self.root / "snapshots" / "tmp").iterdir()],
            "global rows": await self.database.read_global(
                lambda tx: [str(blob.digest) for blob in tx.known_blobs()]
            ),
        }
        for namespace in (A, B):
            store = self.database.within(namespace)
            found[f"images of {namespace}"] = await store.read(
                lambda tx: [record.reference for record in tx.images.list()]
            )
            found[f"blobs of {namespace}"] = await store.read(
                lambda tx: [str(record.digest) for record in tx.blobs.list()]
            )
            found[f"snapshots of {namespace}"] = await store.read(
                lambda tx: [str(record.key) for record in tx.snapshots.list()]
            )
        return {kind: names for kind, names in found.items() if names}

    def partial_ingests(self) -> list[str]:
        folder = self.root / "content" / "ingest"
        return [p.name for p in folder.iterdir()] if folder.exists() else []

    def files(self, directory: str) -> dict[str, bytes]:
        """Regular files of an unpacked layer."""
        top = self.snapshotter.layer_path(directory)
        return {
            str(path.relative_to(top)): path.read_bytes()
            for path in sorted(top.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }


@asynccontextmanager
async def running_rig(root: Path, *, stall_timeout_s: float = 5.0) -> AsyncIterator[Rig]:
    rig = Rig(root)
    await rig.start(stall_timeout_s=stall_timeout_s)
    try:
        yield rig
    finally:
        await rig.stop()
