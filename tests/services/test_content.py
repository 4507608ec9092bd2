"""A namespace's blobs beside the collector, over the real store and content on disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from sharedrt.drivers.content import FileContentStore
from sharedrt.model.faults import NotFound, Unavailable
from sharedrt.model.ids import Digest, parse_namespace
from sharedrt.services.content import ContentService
from sharedrt.services.events import EventBus, NamespacedEvents
from sharedrt.services.images import ImageHost, collect_orphans
from sharedrt.store.database import SqliteDatabase

DATA = b"a layer"
DIGEST = Digest("sha256:" + hashlib.sha256(DATA).hexdigest())


class NoLayers:
    """Of a snapshotter what the collector asks."""

    async def layers_on_disk(self) -> list[str]:
        return []


@dataclass
class Host:
    database: SqliteDatabase
    images: ImageHost
    content: ContentService

    async def collect(self) -> None:
        await collect_orphans(self.images, self.database)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    fakes: Any = None
    async with await SqliteDatabase.open(tmp_path / "test.db") as database:
        files = FileContentStore(tmp_path / "content")
        images = ImageHost(database, files, cast(Any, NoLayers()), fakes, fakes)
        store = database.within(parse_namespace("team"))
        events = NamespacedEvents(store, EventBus())
        yield Host(database, images, ContentService(store, images, events))


async def write(host: Host) -> None:
    async with host.content.ingest("ref") as ingest:
        await ingest.write(DATA)
        await ingest.commit(DIGEST, len(DATA))


async def test_a_granted_blob_is_there(host: Host) -> None:
    await write(host)
    await host.content.grant(DIGEST, len(DATA), {})
    await host.collect()
    assert [chunk async for chunk in host.content.read(DIGEST)] == [DATA]


async def test_what_was_collected_before_it_was_granted_is_not_granted(host: Host) -> None:
    await write(host)
    await host.collect()
    with pytest.raises(Unavailable):
        await host.content.grant(DIGEST, len(DATA), {})
    with pytest.raises(NotFound):
        await host.content.info(DIGEST)
    await write(host)
    await host.content.grant(DIGEST, len(DATA), {})
    assert [chunk async for chunk in host.content.read(DIGEST)] == [DATA]


async def test_a_grant_and_the_collector_do_not_cross(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector has found that nobody has it; the grant comes before it is removed."""
    await write(host)
    removing, go_on = asyncio.Event(), asyncio.Event()
    delete = host.images.content.delete

    async def slowly(digest: Digest) -> bool:
        removing.set()
        await go_on.wait()
        return await delete(digest)

    monkeypatch.setattr(host.images.content, "delete", slowly)
    async with asyncio.TaskGroup() as group:
        group.create_task(host.collect())
        await removing.wait()
        granted = group.create_task(grant(host))
        await asyncio.wait((granted,), timeout=0.2)
        go_on.set()
    with pytest.raises(NotFound):
        await host.content.info(DIGEST)


async def grant(host: Host) -> None:
    with pytest.raises(Unavailable):
        await host.content.grant(DIGEST, len(DATA), {})
