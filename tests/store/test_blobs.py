import pytest

from sharedrt.model.faults import DataLoss, NotFound
from sharedrt.model.stores import Database, NamespacedStore

from . import samples


async def test_a_blob_is_one_row_and_two_grants(
    database: Database, moby: NamespacedStore, k8s: NamespacedStore
) -> None:
    first = samples.blob(media_type="a/b", labels={"from": "moby"}, created_ns=1, updated_ns=1)
    second = samples.blob(media_type="c/d", labels={"from": "k8s"}, created_ns=2, updated_ns=2)
    assert await moby.write(lambda tx: tx.blobs.grant(first)) == first
    assert await k8s.write(lambda tx: tx.blobs.grant(second)) == second
    assert await moby.read(lambda tx: tx.blobs.get(first.digest)) == first
    assert await k8s.read(lambda tx: tx.blobs.list()) == [second]
    known = await database.read_global(lambda tx: tx.known_blobs())
    assert [(b.digest, b.size) for b in known] == [(first.digest, first.size)]


async def test_granting_again_merges(moby: NamespacedStore) -> None:
    first = samples.blob(media_type="a/b", labels={"a": "1", "b": "1"}, created_ns=1, updated_ns=1)
    again = samples.blob(labels={"b": "2", "c": "2"}, created_ns=5, updated_ns=5)
    await moby.write(lambda tx: tx.blobs.grant(first))
    merged = samples.blob(
        media_type="a/b", labels={"a": "1", "b": "2", "c": "2"}, created_ns=1, updated_ns=5
    )
    assert await moby.write(lambda tx: tx.blobs.grant(again)) == merged
    assert await moby.read(lambda tx: tx.blobs.list()) == [merged]


async def test_labels_are_replaced(moby: NamespacedStore) -> None:
    blob = samples.blob(labels={"a": "1"}, created_ns=1, updated_ns=1)
    await moby.write(lambda tx: tx.blobs.grant(blob))
    changed = await moby.write(lambda tx: tx.blobs.set_labels(blob.digest, {"b": "2"}))
    assert changed.labels == {"b": "2"}
    assert changed.updated_ns > 1
    assert await moby.read(lambda tx: tx.blobs.get(blob.digest)) == changed


async def test_labels_of_a_blob_that_only_another_namespace_has(
    moby: NamespacedStore, k8s: NamespacedStore
) -> None:
    await moby.write(lambda tx: tx.blobs.grant(samples.blob()))
    with pytest.raises(NotFound):
        await k8s.write(lambda tx: tx.blobs.set_labels(samples.digest(), {}))


async def test_the_blob_outlives_all_but_the_last_grant(
    database: Database, moby: NamespacedStore, k8s: NamespacedStore
) -> None:
    for store in (moby, k8s):
        await store.write(lambda tx: tx.blobs.grant(samples.blob()))
    assert await moby.write(lambda tx: tx.blobs.revoke(samples.digest()))
    assert not await moby.write(lambda tx: tx.blobs.revoke(samples.digest()))
    assert await database.read_global(lambda tx: tx.orphaned_blobs()) == []
    assert not await database.write_global(lambda tx: tx.forget_blob(samples.digest()))
    assert await k8s.write(lambda tx: tx.blobs.revoke(samples.digest()))
    orphaned = await database.read_global(lambda tx: tx.orphaned_blobs())
    assert [blob.digest for blob in orphaned] == [samples.digest()]
    assert await database.write_global(lambda tx: tx.forget_blob(samples.digest()))
    assert not await database.write_global(lambda tx: tx.forget_blob(samples.digest()))
    assert await database.read_global(lambda tx: tx.known_blobs()) == []


async def test_one_digest_has_one_size(moby: NamespacedStore, k8s: NamespacedStore) -> None:
    await moby.write(lambda tx: tx.blobs.grant(samples.blob(1)))
    liar = samples.blob(2, created_ns=1)
    with pytest.raises(DataLoss, match=r"12 bytes .* 11"):
        await k8s.write(lambda tx: tx.blobs.grant(type(liar)(samples.digest(1), liar.size)))
    assert await k8s.read(lambda tx: tx.blobs.list()) == []
