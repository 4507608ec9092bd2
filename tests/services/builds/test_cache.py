"""The build cache over the real store: what is found, kept while it is used, and removed."""

import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, cast

import pytest

from sharedrt.model.drivers import Usage
from sharedrt.model.ids import Digest, Namespace, SnapshotKey
from sharedrt.model.records import BuildStepRecord
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.builds.cache import BuildCache, step_key
from sharedrt.services.layout import Layout
from sharedrt.store.database import SqliteDatabase
from tests.store import samples

MOBY, OTHER = Namespace("moby"), Namespace("other")
_DAY_NS = 86_400 * 10**9


class Images:
    """Notes what is let go."""

    def __init__(self) -> None:
        self.released: list[tuple[set[Digest], set[SnapshotKey]]] = []

    def list(self) -> list[Any]:
        return []

    async def release(
        self, digests: Collection[Digest], snapshots: Collection[SnapshotKey] = ()
    ) -> None:
        self.released.append((set(digests), set(snapshots)))


class Host:
    def __init__(self) -> None:
        self.removed: list[str] = []
        self.there: list[str] = []

    async def remove_tree(self, path: Path) -> None:
        self.removed.append(path.name)

    async def names(self, folder: Path) -> list[str]:
        return self.there

    async def usage(self, folder: Path) -> Usage:
        return Usage(100, 1)


class Rig:
    def __init__(self, database: SqliteDatabase, namespace: Namespace) -> None:
        self.store: NamespacedStore = database.within(namespace)
        self.images, self.host = Images(), Host()
        layout = Layout(namespace, Path("/state"), Path("/run"), "c", False)
        host = cast(Any, self.host)
        self.cache = BuildCache(layout, self.store, cast(Any, self.images), host, host)

    async def step(self, key: str, size: int = 10, age_days: float = 0, layer: int = 1) -> None:
        used = time.time_ns() - int(age_days * _DAY_NS)
        blob = samples.build_step(key, layer).layers
        record = BuildStepRecord(
            key, "{}", SnapshotKey("k2"), blob, "RUN x", size_bytes=size, last_used_ns=used
        )
        await self.store.write(lambda tx: tx.build_steps.put(record))

    async def keys(self) -> list[str]:
        return [entry.id for entry in await self.cache.entries()]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with await SqliteDatabase.open(tmp_path / "db") as opened:
        yield opened


@pytest.fixture
async def rig(database: SqliteDatabase) -> Rig:
    rig = Rig(database, MOBY)

    def seed(tx: Any) -> None:
        for number in range(3):
            tx.blobs.grant(samples.blob(number))
        tx.snapshots.add(samples.snapshot("k1"))
        tx.snapshots.add(samples.snapshot("k2", "k1"))

    await rig.store.write(seed)
    return rig


async def test_a_removed_step_lets_its_layers_go(rig: Rig) -> None:
    await rig.step("a", size=10)
    await rig.step("b", size=5, layer=2)
    entries = await rig.cache.entries()
    assert await rig.cache.remove(entries[:1]) == (["a"], 10)
    assert rig.images.released == [
        ({samples.digest(1)}, {SnapshotKey("k2"), SnapshotKey("k1")}),
    ]
    assert await rig.keys() == ["b"]


async def test_what_a_build_uses_stays(rig: Rig) -> None:
    await rig.step("a")
    await rig.step("b")
    entries = await rig.cache.entries()
    with rig.cache.using() as one, rig.cache.using() as two:
        assert await one.find("a") is not None
        assert await two.find("a") is not None
        assert await one.find("none") is None
        assert [entry.in_use for entry in await rig.cache.entries()] == [True, False]
        one.let_go()
        assert (await rig.cache.remove(entries))[0] == ["b"]
        await two.note_hits()
    (left,) = await rig.cache.entries()
    assert (left.uses, left.in_use) == (1, False)
    assert (await rig.cache.remove([left]))[0] == ["a"]


async def test_the_cache_is_bounded_by_age_and_size(rig: Rig) -> None:
    for key, size, age in (("old", 1, 40), ("big", 50, 3), ("mid", 30, 2), ("new", 20, 1)):
        await rig.step(key, size, age)
    await rig.cache.collect(max_bytes=1000, max_age_s=30 * 86400)
    assert set(await rig.keys()) == {"big", "mid", "new"}
    await rig.cache.collect(max_bytes=60, max_age_s=30 * 86400)
    assert set(await rig.keys()) == {"mid", "new"}
    await rig.cache.collect(max_bytes=60, max_age_s=30 * 86400)
    assert set(await rig.keys()) == {"mid", "new"}


async def test_cache_mounts(rig: Rig) -> None:
    with rig.cache.using() as use:
        await use.mount("f1", "/root/.cache")
        await use.mount("f1", "/root/.cache")
        (entry,) = await rig.cache.entries()
        assert (entry.kind, entry.uses, entry.size_bytes, entry.in_use) == (
            "exec.cachemount",
            2,
            100,
            True,
        )
        assert await rig.cache.remove([entry]) == ([], 0)
    assert await rig.cache.remove([entry]) == (["f1"], 100)
    assert rig.host.removed == ["f1"]
    rig.host.there = ["f2"]
    await rig.cache.recover()
    assert rig.host.removed == ["f1", "f2"], "a folder that no row names"


async def test_another_namespace_finds_nothing(rig: Rig, database: SqliteDatabase) -> None:
    await rig.step("a")
    other = Rig(database, OTHER)
    with other.cache.using() as use:
        assert await use.find("a") is None
    assert await other.keys() == []
    assert (await other.cache.remove(await rig.cache.entries()))[0] == ["a"]
    assert await rig.keys() == ["a"], "an id of another namespace is one that never was"


def test_keys_tell_all_parts_apart() -> None:
    assert step_key("a", "b") == step_key("a", "b")
    assert len({step_key("a", "b"), step_key("ab"), step_key("a", ["b"]), step_key("b", "a")}) == 4
