"""Reading and writing blobs: the Write call's steps, resumed and refused."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from betterproto.lib.google.protobuf import FieldMask
from grpclib import GRPCError, Status
from grpclib.client import Channel

from sharedrt.model.ids import Digest, LeaseId
from sharedrt.model.records import BlobRecord, LeaseRecord
from sharedrt.pb.containerd.services.content import v1 as pb
from tests.edges.containerd.conftest import IN_K8S, IN_MOBY

DATA = b"0123456789"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def stat(ref: str = "r", **more: Any) -> pb.WriteContentRequest:
    return pb.WriteContentRequest(action=pb.WriteAction.STAT, ref=ref, **more)


def write(offset: int, data: bytes) -> pb.WriteContentRequest:
    return pb.WriteContentRequest(action=pb.WriteAction.WRITE, offset=offset, data=data)


def commit(**more: Any) -> pb.WriteContentRequest:
    return pb.WriteContentRequest(action=pb.WriteAction.COMMIT, **more)


async def send(
    channel: Channel, *requests: pb.WriteContentRequest, **metadata: str
) -> list[pb.WriteContentResponse]:
    headers = {**IN_K8S, **{key.replace("_", "-"): value for key, value in metadata.items()}}
    return [r async for r in pb.ContentStub(channel).write(requests, metadata=headers)]


async def refused(channel: Channel, *requests: pb.WriteContentRequest) -> Status:
    with pytest.raises(GRPCError) as caught:
        await send(channel, *requests)
    status: Status = caught.value.status
    return status


async def test_write_in_pieces(channel: Channel, here: Any) -> None:
    replies = await send(
        channel,
        stat(total=10, expected=digest_of(DATA)),
        write(0, DATA[:4]),
        write(4, DATA[4:]),
        commit(total=10, expected=digest_of(DATA), offset=10, labels={"a": "b"}),
    )
    assert [r.offset for r in replies] == [0, 4, 10, 10]
    assert replies[0].total == 10
    assert replies[-1].digest == digest_of(DATA)
    assert here.content.blobs[digest_of(DATA)] == DATA
    assert here.content.records[digest_of(DATA)].labels == {"a": "b"}


async def test_a_broken_call_is_resumed_where_it_was(channel: Channel, here: Any) -> None:
    await send(channel, stat(), write(0, DATA[:6]))
    replies = await send(channel, stat(), write(6, DATA[6:]), commit(offset=10))
    assert replies[0].offset == 6
    assert replies[-1].digest == digest_of(DATA)


async def test_offset_zero_begins_anew(channel: Channel, here: Any) -> None:
    await send(channel, stat(), write(0, b"garbage"))
    replies = await send(channel, stat(), write(0, DATA), commit(offset=10))
    assert [r.offset for r in replies] == [7, 10, 10]
    assert here.content.blobs[digest_of(DATA)] == DATA


async def test_a_commit_says_where_it_stands_too(channel: Channel, here: Any) -> None:
    replies = await send(channel, stat(), write(0, DATA), commit(offset=0))
    assert replies[-1].digest == digest_of(b""), "as in containerd, 0 begins anew"
    assert (
        await refused(channel, stat("s"), write(0, DATA), commit(offset=3)) is Status.OUT_OF_RANGE
    )


async def test_refusals(channel: Channel, here: Any) -> None:
    assert await refused(channel, write(0, DATA)) is Status.INVALID_ARGUMENT  # no ref
    assert await refused(channel, stat(), write(5, DATA)) is Status.OUT_OF_RANGE
    other = pb.WriteContentRequest(action=pb.WriteAction.WRITE, ref="other")
    assert await refused(channel, stat(), other) is Status.INVALID_ARGUMENT
    assert await refused(channel, stat(expected="md5:1")) is Status.INVALID_ARGUMENT
    changed = commit(expected=digest_of(b"x"))
    wrong = (stat(expected=digest_of(DATA)), write(0, DATA), changed)
    assert await refused(channel, *wrong) is Status.INVALID_ARGUMENT
    assert here.content.records == {}


@pytest.mark.parametrize("announced", [{"expected": digest_of(b"else")}, {"total": 11}])
async def test_bytes_that_are_not_those_announced(
    channel: Channel, here: Any, announced: dict[str, Any]
) -> None:
    status = await refused(channel, stat(), write(0, DATA), commit(offset=10, **announced))
    assert status is Status.FAILED_PRECONDITION
    assert here.content.records == {}


async def test_a_known_blob_is_not_written_again(channel: Channel, here: Any) -> None:
    await send(channel, stat(), write(0, DATA), commit(offset=10))
    assert await refused(channel, stat("s", expected=digest_of(DATA))) is Status.ALREADY_EXISTS


async def test_what_another_namespace_has_must_be_brought(channel: Channel, here: Any) -> None:
    await send(channel, stat(), write(0, DATA), commit(offset=10))
    requests = [stat(expected=digest_of(DATA))]
    stream = pb.ContentStub(channel).write(requests, metadata=IN_MOBY)
    assert [r.offset async for r in stream] == [0]


async def test_a_lease_holds_what_is_written_under_it(channel: Channel, here: Any) -> None:
    await here.leases.create(LeaseRecord(LeaseId("l1")))
    await send(channel, stat(), write(0, DATA), commit(offset=10), containerd_lease="l1")
    assert here.leases.records["l1"].resources == (("content", digest_of(DATA)),)


async def open_ingests(stub: pb.ContentStub) -> list[pb.Status]:
    """As soon as there is one with bytes."""
    for _ in range(1000):
        found = await stub.list_statuses(pb.ListStatusesRequest(), metadata=IN_K8S)
        if found.statuses and found.statuses[0].offset:
            return found.statuses
    raise AssertionError("no ingest was opened")


async def test_statuses_one_writer_and_abort(channel: Channel, here: Any) -> None:
    stub = pb.ContentStub(channel)
    started, end = asyncio.Event(), asyncio.Event()

    async def requests() -> AsyncIterator[pb.WriteContentRequest]:
        yield stat(total=10)
        yield write(0, DATA[:3])
        started.set()
        await end.wait()

    async def hold() -> None:
        async for _ in stub.write(requests(), metadata=IN_K8S):
            pass

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold())
        await started.wait()
        found = await open_ingests(stub)
        assert [(s.ref, s.offset, s.total) for s in found] == [("r", 3, 10)]
        one = await stub.status(pb.StatusRequest(ref="r"), metadata=IN_K8S)
        assert one.status.offset == 3
        elsewhere = await stub.list_statuses(pb.ListStatusesRequest(), metadata=IN_MOBY)
        assert elsewhere.statuses == []
        assert await refused(channel, stat()) is Status.UNAVAILABLE
        with pytest.raises(GRPCError) as caught:
            await stub.abort(pb.AbortRequest(ref="r"), metadata=IN_K8S)
        assert caught.value.status is Status.UNAVAILABLE
        end.set()
    with pytest.raises(GRPCError) as caught:
        await stub.status(pb.StatusRequest(ref="r"), metadata=IN_K8S)
    assert caught.value.status is Status.NOT_FOUND
    await stub.abort(pb.AbortRequest(ref="r"), metadata=IN_K8S)
    assert not here.content.partial["r"]
    with pytest.raises(GRPCError) as caught:
        await stub.abort(pb.AbortRequest(ref="r"), metadata=IN_K8S)
    assert caught.value.status is Status.NOT_FOUND


async def test_read(channel: Channel, here: Any) -> None:
    data = bytes(range(256)) * 8192
    await send(channel, stat(), write(0, data), commit(offset=len(data)))
    stub = pb.ContentStub(channel)

    async def read(offset: int, size: int) -> bytes:
        request = pb.ReadContentRequest(digest=digest_of(data), offset=offset, size=size)
        pieces, at = [], offset
        async for reply in stub.read(request, metadata=IN_K8S):
            assert reply.offset == at
            assert len(reply.data) <= 1 << 20
            pieces.append(reply.data)
            at += len(reply.data)
        return b"".join(pieces)

    assert await read(0, 0) == data
    assert await read(100, 50) == data[100:150]
    assert await read(len(data) - 5, 100) == data[-5:]
    assert await read(len(data), 10) == b""
    with pytest.raises(GRPCError) as caught:
        await read(len(data) + 1, 1)
    assert caught.value.status is Status.OUT_OF_RANGE


async def test_info_labels_list_and_delete(channel: Channel, here: Any) -> None:
    stub = pb.ContentStub(channel)
    for number in range(150):
        known = Digest(digest_of(str(number).encode()))
        here.content.records[known] = BlobRecord(known, number, labels={"n": str(number % 2)})
    digest = digest_of(b"7")
    info = (await stub.info(pb.InfoRequest(digest=digest), metadata=IN_K8S)).info
    assert (info.size, info.labels) == (7, {"n": "1"})
    listed = [r async for r in stub.list(pb.ListContentRequest(), metadata=IN_K8S)]
    assert sorted(len(r.info) for r in listed) == [50, 100]
    odd = pb.ListContentRequest(filters=["labels.n==1"])
    assert sum([len(r.info) async for r in stub.list(odd, metadata=IN_K8S)]) == 75
    change = pb.Info(digest=digest, labels={"x": "y", "n": ""})
    mask = FieldMask(paths=["labels.x", "labels.n"])
    request = pb.UpdateRequest(info=change, update_mask=mask)
    assert (await stub.update(request, metadata=IN_K8S)).info.labels == {"x": "y"}
    whole = pb.UpdateRequest(info=pb.Info(digest=digest, labels={"all": "new"}))
    assert (await stub.update(whole, metadata=IN_K8S)).info.labels == {"all": "new"}
    request = pb.UpdateRequest(info=change, update_mask=FieldMask(paths=["size"]))
    with pytest.raises(GRPCError) as caught:
        await stub.update(request, metadata=IN_K8S)
    assert caught.value.status is Status.INVALID_ARGUMENT
    await stub.delete(pb.DeleteContentRequest(digest=digest), metadata=IN_K8S)
    with pytest.raises(GRPCError) as caught:
        await stub.info(pb.InfoRequest(digest=digest), metadata=IN_K8S)
    assert caught.value.status is Status.NOT_FOUND
