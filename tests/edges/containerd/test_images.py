"""Image names and the layers behind them."""

from typing import Any

import pytest
from betterproto.lib.google.protobuf import FieldMask
from grpclib import GRPCError, Status
from grpclib.client import Channel

from sharedrt.model.ids import ContainerId, SnapshotKey
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.model.spec import ContainerSpec
from sharedrt.pb.containerd.services.images import v1 as pb
from sharedrt.pb.containerd.services.snapshots import v1 as snapshots
from sharedrt.pb.containerd.types import Descriptor
from tests.edges.containerd.conftest import IN_K8S, IN_MOBY

NAME = "docker.io/library/busybox:latest"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ONE, TWO, MISSING = (f"sha256:{character * 64}" for character in "123")


def image(name: str = NAME, digest: str = ONE, **more: Any) -> pb.Image:
    target = Descriptor(media_type=MANIFEST, digest=digest, size=500)
    return pb.Image(name=name, target=target, **more)


@pytest.fixture(autouse=True)
def images(here: Any) -> Any:
    here.images.complete |= {ONE, TWO}
    return here.images


@pytest.fixture
def stub(channel: Channel) -> pb.ImagesStub:
    return pb.ImagesStub(channel)


async def names(stub: pb.ImagesStub, *filters: str) -> list[str]:
    request = pb.ListImagesRequest(filters=list(filters))
    return [i.name for i in (await stub.list(request, metadata=IN_K8S)).images]


async def create(stub: pb.ImagesStub, wanted: pb.Image) -> pb.Image:
    reply = await stub.create(pb.CreateImageRequest(image=wanted), metadata=IN_K8S)
    return reply.image


async def status_of(call: Any) -> Status:
    with pytest.raises(GRPCError) as caught:
        await call
    status: Status = caught.value.status
    return status


async def test_create_get_list_delete(stub: pb.ImagesStub, images: Any) -> None:
    made = await create(stub, image("busybox", labels={"a": "b"}))
    assert (made.name, made.target.digest, made.labels) == (NAME, ONE, {"a": "b"})
    assert made.target.size == 500
    found = (await stub.get(pb.GetImageRequest(name="busybox"), metadata=IN_K8S)).image
    assert (found.name, found.target.media_type) == (NAME, MANIFEST)
    await create(stub, image("docker.io/rig/other:1", TWO))
    assert await names(stub) == [NAME, "docker.io/rig/other:1"]
    assert await names(stub, "name~=rig") == ["docker.io/rig/other:1"]
    assert await names(stub, "target.digest==" + ONE) == [NAME]
    assert await names(stub, "labels.a==b") == [NAME]
    elsewhere = pb.GetImageRequest(name=NAME)
    assert await status_of(stub.get(elsewhere, metadata=IN_MOBY)) is Status.NOT_FOUND
    await stub.delete(pb.DeleteImageRequest(name=NAME, sync=True), metadata=IN_K8S)
    assert await names(stub) == ["docker.io/rig/other:1"]
    assert images.swept == 1
    gone = pb.DeleteImageRequest(name=NAME)
    assert await status_of(stub.delete(gone, metadata=IN_K8S)) is Status.NOT_FOUND


async def test_refused_creations(stub: pb.ImagesStub) -> None:
    await create(stub, image())
    assert await status_of(create(stub, image(digest=TWO))) is Status.ALREADY_EXISTS
    assert await status_of(create(stub, image("x", MISSING))) is Status.NOT_FOUND
    assert await status_of(create(stub, image("x", "sha256:1"))) is Status.INVALID_ARGUMENT
    assert await status_of(create(stub, image("a/UPPER"))) is Status.INVALID_ARGUMENT
    empty = pb.Image(name="x", target=Descriptor(media_type=MANIFEST, digest=ONE))
    assert await status_of(create(stub, empty)) is Status.INVALID_ARGUMENT
    assert await names(stub) == [NAME]


async def test_update(stub: pb.ImagesStub) -> None:
    await create(stub, image(labels={"old": "1"}))

    async def update(wanted: pb.Image, *paths: str) -> pb.Image:
        mask = FieldMask(paths=list(paths))
        request = pb.UpdateImageRequest(image=wanted, update_mask=mask)
        return (await stub.update(request, metadata=IN_K8S)).image

    labelled = await update(image(labels={"new": "2"}, digest=TWO), "labels.new")
    assert (labelled.labels, labelled.target.digest) == ({"old": "1", "new": "2"}, ONE)
    moved = await update(image(digest=TWO), "target")
    assert moved.target.digest == TWO
    whole = await update(image(labels={"only": "3"}))
    assert (whole.labels, whole.target.digest) == ({"only": "3"}, ONE)
    assert await status_of(update(image(), "name")) is Status.INVALID_ARGUMENT
    assert await status_of(update(image("nope"))) is Status.NOT_FOUND


async def test_a_deletion_on_condition(stub: pb.ImagesStub) -> None:
    await create(stub, image())
    other = Descriptor(media_type=MANIFEST, digest=TWO, size=1)
    request = pb.DeleteImageRequest(name=NAME, target=other)
    assert await status_of(stub.delete(request, metadata=IN_K8S)) is Status.FAILED_PRECONDITION
    same = Descriptor(media_type=MANIFEST, digest=ONE, size=500)
    await stub.delete(pb.DeleteImageRequest(name=NAME, target=same), metadata=IN_K8S)
    assert await names(stub) == []


async def test_snapshots_are_the_layers(channel: Channel, stub: pb.ImagesStub, here: Any) -> None:
    sn = snapshots.SnapshotsStub(channel)
    before = snapshots.StatSnapshotRequest(snapshotter="overlayfs", key="sha256:top")
    assert await status_of(sn.stat(before, metadata=IN_K8S)) is Status.NOT_FOUND
    await create(stub, image())
    [known] = here.images.list()
    here.containers.add(
        ContainerRecord(
            id=ContainerId("c1"),
            name="",
            image_reference=NAME,
            image_id=known.id,
            spec=ContainerSpec(),
            snapshot_key=SnapshotKey("c1"),
            state=ContainerState.RUNNING,
        )
    )
    info = (await sn.stat(before, metadata=IN_K8S)).info
    assert (info.name, info.parent, info.kind) == (
        "sha256:top",
        "sha256:base",
        snapshots.Kind.COMMITTED,
    )
    listed = [
        (i.name, i.parent, i.kind)
        async for reply in sn.list(snapshots.ListSnapshotsRequest(), metadata=IN_K8S)
        for i in reply.info
    ]
    assert listed == [
        ("sha256:top", "sha256:base", snapshots.Kind.COMMITTED),
        ("sha256:base", "", snapshots.Kind.COMMITTED),
        ("c1", "sha256:top", snapshots.Kind.ACTIVE),
    ]
    only = snapshots.ListSnapshotsRequest(filters=["kind==Active"])
    assert [len(r.info) async for r in sn.list(only, metadata=IN_K8S)] == [1]
    layer = await sn.usage(snapshots.UsageRequest(key="sha256:top"), metadata=IN_K8S)
    assert (layer.size, layer.inodes) == (4096, 3)
    own = await sn.usage(snapshots.UsageRequest(key="c1"), metadata=IN_K8S)
    assert (own.size, own.inodes) == (100, 2)


async def test_snapshots_are_not_made_here(channel: Channel) -> None:
    sn = snapshots.SnapshotsStub(channel)
    with pytest.raises(GRPCError, match=r"Snapshots\.Prepare .*Images\.Create"):
        await sn.prepare(snapshots.PrepareSnapshotRequest(key="x"), metadata=IN_K8S)
    with pytest.raises(GRPCError, match=r"Snapshots\.View"):
        await sn.view(snapshots.ViewSnapshotRequest(key="x"), metadata=IN_K8S)
    request = snapshots.StatSnapshotRequest(snapshotter="zfs", key="x")
    with pytest.raises(GRPCError, match="the only one here is overlayfs"):
        await sn.stat(request, metadata=IN_K8S)
