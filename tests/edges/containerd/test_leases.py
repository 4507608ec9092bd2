"""Leases: made, filled, ended."""

from typing import Any

import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel

from sharedrt.pb.containerd.services.leases import v1 as pb
from tests.edges.containerd.conftest import IN_K8S

BLOB = "sha256:" + "1" * 64


async def test_a_lease_from_its_making_to_its_end(channel: Channel, here: Any) -> None:
    stub = pb.LeasesStub(channel)
    labels = {"containerd.io/gc.expire": "2030-01-01T00:00:00.123456789Z"}
    request = pb.CreateRequest(id="mine", labels=labels)
    made = (await stub.create(request, metadata=IN_K8S)).lease
    assert (made.id, made.labels) == ("mine", labels)
    assert here.leases.records["mine"].expires_ns == 1893456000_123456000
    named = (await stub.create(pb.CreateRequest(), metadata=IN_K8S)).lease.id
    assert len(named) == 64
    assert here.leases.records[named].expires_ns == 0
    for resource in (
        pb.Resource(id=BLOB, type="content"),
        pb.Resource(id="key", type="snapshots/overlayfs"),
    ):
        add = pb.AddResourceRequest(id="mine", resource=resource)
        await stub.add_resource(add, metadata=IN_K8S)
    held = await stub.list_resources(pb.ListResourcesRequest(id="mine"), metadata=IN_K8S)
    assert [(r.type, r.id) for r in held.resources] == [
        ("content", BLOB),
        ("snapshots/overlayfs", "key"),
    ]
    drop = pb.DeleteResourceRequest(
        id="mine", resource=pb.Resource(id="key", type="snapshots/overlayfs")
    )
    await stub.delete_resource(drop, metadata=IN_K8S)
    listed = await stub.list(pb.ListRequest(filters=["id==mine"]), metadata=IN_K8S)
    assert [lease.id for lease in listed.leases] == ["mine"]
    await stub.delete(pb.DeleteRequest(id="mine"), metadata=IN_K8S)
    assert "mine" not in here.leases.records
    assert here.images.released == [{BLOB}], "what it alone has held is let go"


@pytest.mark.parametrize(
    ("when", "expires_ns"),
    [
        ("9999-12-31T23:59:59Z", (1 << 63) - 1),
        ("1970-01-01T00:00:00Z", 1),
        ("0001-01-01T00:00:00+14:00", 1),
    ],
)
async def test_an_expiry_at_the_ends_of_time(
    channel: Channel, here: Any, when: str, expires_ns: int
) -> None:
    """What the database cannot count was a bug of ours, and 1970 no end at all."""
    request = pb.CreateRequest(id="mine", labels={"containerd.io/gc.expire": when})
    await pb.LeasesStub(channel).create(request, metadata=IN_K8S)
    assert here.leases.records["mine"].expires_ns == expires_ns


@pytest.mark.parametrize(
    ("kind", "id", "status"),
    [
        ("", "x", Status.INVALID_ARGUMENT),
        ("content", "", Status.INVALID_ARGUMENT),
        ("content", "../../etc", Status.INVALID_ARGUMENT),
        ("content/x", BLOB, Status.INVALID_ARGUMENT),
        ("snapshots", "key", Status.INVALID_ARGUMENT),
        ("snapshots/a/b", "key", Status.INVALID_ARGUMENT),
        ("images", "x", Status.UNIMPLEMENTED),
    ],
)
async def test_resources_that_are_none(
    channel: Channel, here: Any, kind: str, id: str, status: Status
) -> None:
    stub = pb.LeasesStub(channel)
    await stub.create(pb.CreateRequest(id="mine"), metadata=IN_K8S)
    add = pb.AddResourceRequest(id="mine", resource=pb.Resource(id=id, type=kind))
    with pytest.raises(GRPCError) as caught:
        await stub.add_resource(add, metadata=IN_K8S)
    assert caught.value.status is status
    assert not here.leases.records["mine"].resources


@pytest.mark.parametrize("when", ["tomorrow", "2030-01-01T00:00:00"])
async def test_a_malformed_expiry(channel: Channel, here: Any, when: str) -> None:
    request = pb.CreateRequest(labels={"containerd.io/gc.expire": when})
    with pytest.raises(GRPCError) as caught:
        await pb.LeasesStub(channel).create(request, metadata=IN_K8S)
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert here.leases.records == {}


async def test_unknown_ones(channel: Channel) -> None:
    stub = pb.LeasesStub(channel)
    for call in (
        stub.delete(pb.DeleteRequest(id="x"), metadata=IN_K8S),
        stub.list_resources(pb.ListResourcesRequest(id="x"), metadata=IN_K8S),
    ):
        with pytest.raises(GRPCError) as caught:
            await call
        assert caught.value.status is Status.NOT_FOUND
    request = pb.AddResourceRequest(id="x", resource=pb.Resource(id="", type="content"))
    with pytest.raises(GRPCError) as caught:
        await stub.add_resource(request, metadata=IN_K8S)
    assert caught.value.status is Status.INVALID_ARGUMENT
