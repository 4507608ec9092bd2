"""The namespace of a call, and the refusal of what is not there."""

import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel

from sharedrt.pb.containerd.services.containers.v1 import ContainersStub, ListContainersRequest
from sharedrt.pb.containerd.services.diff.v1 import ApplyRequest, DiffStub
from sharedrt.pb.containerd.services.streaming.v1 import StreamingStub
from sharedrt.pb.containerd.services.transfer.v1 import TransferRequest, TransferStub
from tests.edges.containerd.conftest import IN_K8S


async def test_a_call_without_a_namespace_is_refused(channel: Channel) -> None:
    with pytest.raises(GRPCError) as caught:
        await ContainersStub(channel).list(ListContainersRequest())
    assert caught.value.status is Status.FAILED_PRECONDITION
    assert caught.value.message == "namespace is required"


async def test_a_malformed_namespace_is_refused(channel: Channel) -> None:
    with pytest.raises(GRPCError) as caught:
        await ContainersStub(channel).list(
            ListContainersRequest(), metadata={"containerd-namespace": "../etc"}
        )
    assert caught.value.status is Status.INVALID_ARGUMENT


async def test_an_unknown_namespace_is_an_empty_one(channel: Channel) -> None:
    reply = await ContainersStub(channel).list(
        ListContainersRequest(), metadata={"containerd-namespace": "nobody"}
    )
    assert reply.containers == []


async def test_other_services_are_refused_by_name(channel: Channel) -> None:
    with pytest.raises(GRPCError) as caught:
        await DiffStub(channel).apply(ApplyRequest(), metadata=IN_K8S)
    assert caught.value.status is Status.UNIMPLEMENTED
    assert caught.value.message == "Diff.Apply is not supported by this daemon"
    with pytest.raises(GRPCError) as caught:
        await TransferStub(channel).transfer(TransferRequest(), metadata=IN_K8S)
    assert "Transfer.Transfer" in str(caught.value.message)
    with pytest.raises(GRPCError) as caught:
        await anext(StreamingStub(channel).stream([], metadata=IN_K8S))
    assert "Streaming.Stream" in str(caught.value.message)
