"""The content store on a real file system."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharedrt.drivers.content import FileContentStore
from sharedrt.model.faults import DataLoss, NotFound, ResourceExhausted
from sharedrt.model.ids import Digest


def digest_of(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


@pytest.fixture
def store(tmp_path: Path) -> FileContentStore:
    return FileContentStore(tmp_path)


async def put(store: FileContentStore, data: bytes, name: str = "x") -> Digest:
    async with store.ingest(name) as ingest:
        await ingest.write(data)
        digest, size = await ingest.commit(digest_of(data), len(data))
    assert size == len(data)
    return digest


async def collect(store: FileContentStore, digest: Digest, **bounds: int) -> list[bytes]:
    return [chunk async for chunk in store.stream(digest, **bounds)]


def leftovers(root: Path) -> list[str]:
    return (
        sorted(p.name for p in (root / "ingest").rglob("*")) if (root / "ingest").exists() else []
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.binary(max_size=400_000), max_size=5))
def test_any_split_of_the_bytes_gives_the_same_blob(tmp_path: Path, parts: list[bytes]) -> None:
    async def run() -> None:
        store = FileContentStore(tmp_path)
        data = b"".join(parts)
        async with store.ingest("x") as ingest:
            for part in parts:
                await ingest.write(part)
            assert ingest.offset == len(data)
            assert await ingest.commit(None, None) == (digest_of(data), len(data))
        assert await store.read(digest_of(data)) == data

    asyncio.run(run())


async def test_reads_parts_in_bounded_chunks(store: FileContentStore) -> None:
    data = bytes(range(256)) * 10_000
    digest = await put(store, data)
    chunks = await collect(store, digest)
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= 1 << 20
    assert b"".join(await collect(store, digest, offset=100, length=1000)) == data[100:1100]
    assert await store.size(digest) == len(data)
    assert await store.digests() == [digest]
    with pytest.raises(ResourceExhausted):
        await store.read(digest, limit=10)


async def test_unknown_blobs(store: FileContentStore) -> None:
    digest = digest_of(b"never")
    assert await store.size(digest) is None
    assert not await store.delete(digest)
    with pytest.raises(NotFound):
        await store.read(digest)
    with pytest.raises(NotFound):
        await collect(store, digest)


@pytest.mark.parametrize(("expected", "size"), [(b"other", None), (b"data", 5)])
async def test_wrong_bytes_never_become_a_blob(
    store: FileContentStore, tmp_path: Path, expected: bytes, size: int | None
) -> None:
    async with store.ingest("x") as ingest:
        await ingest.write(b"data")
        with pytest.raises(DataLoss):
            await ingest.commit(digest_of(expected), size)
    assert await store.digests() == []
    assert leftovers(tmp_path) == []


async def test_an_interrupted_ingest_goes_on_where_it_was(tmp_path: Path) -> None:
    data = b"0123456789" * 200_000
    with pytest.raises(RuntimeError):  # noqa: PT012
        async with FileContentStore(tmp_path).ingest("layer") as ingest:
            await ingest.write(data[:1_500_000])
            raise RuntimeError("connection lost")
    store = FileContentStore(tmp_path)
    async with store.ingest("layer") as ingest:
        assert ingest.offset == 1_500_000
        await ingest.write(data[1_500_000:])
        await ingest.commit(digest_of(data), len(data))
    assert await store.read(digest_of(data)) == data
    assert leftovers(tmp_path) == []


async def test_a_cancelled_writer_leaves_a_consistent_ingest(tmp_path: Path) -> None:
    data = b"x" * (3 << 20)
    store = FileContentStore(tmp_path)

    async def writer() -> None:
        async with store.ingest("layer") as ingest:
            for start in range(0, len(data), 70_000):
                await ingest.write(data[start : start + 70_000])
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(writer())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with store.ingest("layer") as ingest:
        await ingest.write(data[ingest.offset :])
        await ingest.commit(digest_of(data), len(data))


async def test_truncate_begins_again(store: FileContentStore) -> None:
    async with store.ingest("x") as ingest:
        await ingest.write(b"wrong" * 300_000)
        await ingest.truncate()
        assert ingest.offset == 0
        await ingest.write(b"right")
        await ingest.commit(digest_of(b"right"), 5)


async def test_two_ingests_of_one_name_queue(store: FileContentStore) -> None:
    order: list[str] = []

    async def one(label: str) -> None:
        async with store.ingest("same") as ingest:
            order.append(f"{label} in")
            await ingest.truncate()
            await ingest.write(label.encode())
            await asyncio.sleep(0.01)
            await ingest.commit(digest_of(label.encode()), None)
            order.append(f"{label} out")

    await asyncio.gather(one("a"), one("b"))
    assert order == ["a in", "a out", "b in", "b out"]


async def test_a_blob_that_is_there_stays(store: FileContentStore, tmp_path: Path) -> None:
    digest = await put(store, b"data", "a")
    before = store.path(digest).stat().st_ino
    await put(store, b"data", "b")
    assert store.path(digest).stat().st_ino == before
    assert leftovers(tmp_path) == []


async def test_sha512(store: FileContentStore) -> None:
    digest = Digest("sha512:" + hashlib.sha512(b"data").hexdigest())
    async with store.ingest("x") as ingest:
        await ingest.write(b"data")
        await ingest.commit(digest, 4)
    assert await store.read(digest) == b"data"
    assert await store.digests() == [digest]


async def test_stale_ingests_are_discarded_and_open_ones_are_not(
    store: FileContentStore, tmp_path: Path
) -> None:
    async with store.ingest("left") as ingest:
        await ingest.write(b"half")
    async with store.ingest("open") as ingest:
        await ingest.write(b"half")
        assert await store.discard_ingests(idle_s=3600) == 0
        assert await store.discard_ingests(idle_s=0) == 1
        await ingest.commit(digest_of(b"half"), 4)
    assert leftovers(tmp_path) == []


@pytest.mark.real
async def test_a_full_disk(tmp_path: Path) -> None:
    async def run(*command: str) -> None:
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0

    await run("mount", "-t", "tmpfs", "-o", "size=2m", "full", str(tmp_path))
    try:
        store = FileContentStore(tmp_path)
        with pytest.raises(ResourceExhausted, match="disk"):  # noqa: PT012
            async with store.ingest("big") as ingest:
                for _ in range(4):
                    await ingest.write(b"x" * (1 << 20))
        assert leftovers(tmp_path) == [], "what filled the disk is given back"
        await put(store, b"fits")
    finally:
        await run("umount", str(tmp_path))
