"""Tags, removal by Docker's and by CRI's rules, garbage collection."""

import pytest

from sharedrt.model.faults import InUse, InvalidArgument, NotFound
from sharedrt.model.ids import Digest, LeaseId
from sharedrt.model.records import LeaseRecord
from sharedrt.services.images import Images, RemovedImage
from tests.real.oci_images import MadeImage, layer_tar, publish
from tests.real.registry import RegistryUnderTest
from tests.services.images.rig import A, B, Rig

pytestmark = pytest.mark.real

BASE = layer_tar({"bin/": b"", "bin/tool": b"t" * 3000})
ONE = MadeImage([BASE, layer_tar({"one": b"1"})])
TWO = MadeImage([BASE, layer_tar({"two": b"2"})])


@pytest.fixture
async def images(rig: Rig, registry: RegistryUnderTest) -> Images:
    """``app:1`` and ``other:2``, which share a layer, pulled through a mirror."""
    await publish(registry.url, "library/app", "1", ONE)
    await publish(registry.url, "library/other", "2", TWO)
    rig.mirror("docker.io", registry.url)
    service = await rig.within(A)
    await service.pull("app:1")
    await service.pull("other:2")
    return service


async def test_tag_and_untag(rig: Rig, images: Images) -> None:
    await images.tag("app:1", "mine")
    await images.tag(ONE.id[7:19], "reg.example/mine:2")
    assert images.get("mine").id == ONE.id
    assert await images.remove("mine") == [RemovedImage(untagged="docker.io/library/mine:latest")]
    assert images.get("app:1").repo_tags == ("docker.io/library/app:1", "reg.example/mine:2")
    with pytest.raises(NotFound):
        await images.tag("nope", "x")
    for bad in ("Bad", f"x@{ONE.digest}"):
        with pytest.raises(InvalidArgument):
            await images.tag("app:1", bad)


async def test_the_last_tag_takes_the_image_along(rig: Rig, images: Images) -> None:
    removed = await images.remove("app:1")
    assert removed[:3] == [
        RemovedImage(untagged="docker.io/library/app:1"),
        RemovedImage(untagged=f"docker.io/library/app@{ONE.digest}"),
        RemovedImage(deleted=ONE.id),
    ]
    # The shared layer stays for the other image.
    assert len(removed) == 4
    assert len(await rig.snapshotter.layers_on_disk()) == 2
    await images.remove("other:2")
    assert await rig.leftovers() == {}


async def test_without_prune_files_stay_for_the_collector(rig: Rig, images: Images) -> None:
    assert len(await images.remove("app:1", prune=False)) == 3
    assert len(await rig.snapshotter.layers_on_disk()) == 3
    await images.gc(grace_s=0)
    assert len(await rig.snapshotter.layers_on_disk()) == 2


async def test_a_digest_alone(rig: Rig, images: Images) -> None:
    await images.remove(f"app@{ONE.digest}")
    assert images.get("app:1").repo_digests == ()
    await images.remove("app:1")
    with pytest.raises(NotFound):
        images.get(ONE.id)


async def test_by_id(rig: Rig, images: Images) -> None:
    await images.tag("app:1", "elsewhere:1")
    with pytest.raises(InUse, match="multiple repositories"):
        await images.remove(ONE.id)
    removed = await images.remove(ONE.id, force=True)
    assert len([line for line in removed if line.untagged]) == 3
    with pytest.raises(NotFound):
        images.get(ONE.id)


async def test_in_use(rig: Rig, images: Images) -> None:
    container = "c" * 64

    def users(id: Digest) -> tuple[str, ...]:
        return (container,) if id == ONE.id else ()

    def running(_: Digest) -> tuple[str, ...]:
        return ()

    with pytest.raises(InUse, match=r'reference "app:1" \(must force\) - container cccccccccccc'):
        await images.remove("app:1", in_use=users)
    with pytest.raises(InUse, match="cannot be forced"):
        await images.remove(ONE.id, in_use=users, force=True)
    with pytest.raises(InUse, match="must be forced"):
        await images.remove(ONE.id, in_use=users, running=running)
    # Another name can go, and the last one by force: the image stays for its container.
    await images.tag("app:1", "second")
    await images.remove("second", in_use=users)
    removed = await images.remove("app:1", in_use=users, force=True)
    assert not any(line.deleted for line in removed)
    left = images.get(ONE.id)
    assert left.references == ()
    assert len(await rig.snapshotter.layers_on_disk()) == 3
    assert (await images.remove(ONE.id))[-1].deleted
    await images.remove("other:2")
    assert await rig.leftovers() == {}


async def test_cri_removes_all_names_and_is_idempotent(rig: Rig, images: Images) -> None:
    await images.tag("app:1", "elsewhere:1")
    await images.remove_by_id(ONE.id)
    await images.remove_by_id(ONE.id)
    await images.remove_by_id("other:2")
    await images.remove_by_id("unknown")
    assert await rig.leftovers() == {}


async def test_drop_reference(rig: Rig, images: Images) -> None:
    await images.drop_reference("docker.io/library/app:1")
    assert images.get(ONE.id).repo_tags == ()
    await images.drop_reference(f"docker.io/library/app@{ONE.digest}")
    with pytest.raises(NotFound):
        images.get(ONE.id)
    with pytest.raises(NotFound):
        await images.drop_reference("docker.io/library/app:1")


async def test_a_tag_moved_away_leaves_an_image_without_name(rig: Rig, images: Images) -> None:
    await images.remove(f"app@{ONE.digest}")
    await images.tag("other:2", "app:1")
    assert images.get("app:1").id == TWO.id
    assert images.get(ONE.id).references == ()
    # A new name ends the namelessness.
    await images.tag(ONE.id, "again")
    assert images.get(ONE.id).references == ("docker.io/library/again:latest",)
    await rig.stop()
    await rig.start()
    again = await rig.within(A)
    assert {image.id for image in again.list()} == {ONE.id, TWO.id}


async def test_another_namespace_is_not_touched(rig: Rig, images: Images) -> None:
    other = await rig.within(B)
    with pytest.raises(NotFound):
        await other.remove("app:1")
    assert await other.remove_by_id(ONE.id) == []
    await other.gc(grace_s=0)
    await rig.collect()
    assert images.get("app:1").id == ONE.id
    assert len(await rig.snapshotter.layers_on_disk()) == 3


async def test_a_lease_holds_blobs_and_layers_until_it_ends(rig: Rig, images: Images) -> None:
    image = images.get("app:1")
    store = rig.database.within(A)
    resources = (("content", image.id), ("snapshots/overlayfs", image.layers[0]))
    lease = LeaseRecord(LeaseId("held"), resources=resources)
    await store.write(lambda tx: tx.leases.add(lease))
    await images.remove("app:1")
    assert len(await rig.snapshotter.layers_on_disk()) == 3
    assert await rig.content.size(image.id) is not None
    await store.write(lambda tx: tx.leases.delete(lease.id))
    await images.gc(grace_s=0)
    assert len(await rig.snapshotter.layers_on_disk()) == 2
    assert await rig.content.size(image.id) is None


async def test_files_that_no_row_owns_are_collected(rig: Rig, images: Images) -> None:
    async with rig.content.ingest("stray") as ingest:
        await ingest.write(b"left by a crash")
        stray, _ = await ingest.commit(None, None)
    async with rig.snapshotter.prepare_layer("sha256-" + "0" * 64) as (_, commit):
        await commit()
    async with rig.host.hold() as hold:
        await hold.blob(stray)
        await rig.collect()
        assert await rig.content.size(stray) is not None
    await rig.collect()
    assert await rig.content.size(stray) is None
    assert len(await rig.snapshotter.layers_on_disk()) == 3
    assert images.get("app:1").id == ONE.id


async def test_history_and_sizes(rig: Rig, images: Images) -> None:
    rows = images.history("app:1")
    assert [row.created_by for row in rows] == ["layer 1", "layer 0"]
    assert (rows[0].id, rows[1].id) == (ONE.id, None)
    assert rows[0].tags == ("docker.io/library/app:1",)
    assert sum(row.size_bytes for row in rows) == images.get("app:1").unpacked_size_bytes
    sizes = images.layer_sizes(images.get("app:1"))
    assert sum(size for _, size in sizes) == images.get("app:1").unpacked_size_bytes
    usage = await images.disk_usage()
    assert usage.size_bytes > 3000
    assert usage.inodes > 8


async def test_ensure_unpacked_restores_a_lost_folder(rig: Rig, images: Images) -> None:
    image = images.get("app:1")
    [first, *_] = await rig.snapshotter.layers_on_disk()
    await rig.snapshotter.remove_layer(first)
    await images.ensure_unpacked(image)
    await images.ensure_unpacked(images.get("other:2"))
    assert len(await rig.snapshotter.layers_on_disk()) == 3
