"""The shared gRPC plumbing, over a real socket with a real client."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from grpclib import GRPCError, Status
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.exceptions import StreamTerminatedError

from sharedrt.edges._grpc import GrpcServer
from sharedrt.edges._grpc.messages import MAX_MESSAGE_BYTES
from sharedrt.model.faults import FailedPrecondition, NotFound
from sharedrt.pb.codec import Codec
from sharedrt.pb.runtime.v1 import (
    ContainerEventResponse,
    ContainerStatusRequest,
    ContainerStatusResponse,
    ExecSyncRequest,
    ExecSyncResponse,
    GetEventsRequest,
    RuntimeServiceBase,
    RuntimeServiceStub,
    StatusRequest,
    VersionRequest,
    VersionResponse,
)


class Service(RuntimeServiceBase):
    """Answers as its request asks it to."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.running = 0
        self.most_running = 0
        self.go_on = asyncio.Event()

    async def version(self, version_request: VersionRequest) -> VersionResponse:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.go_on.wait()
            return VersionResponse(version=version_request.version)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def container_status(
        self, container_status_request: ContainerStatusRequest
    ) -> ContainerStatusResponse:
        match container_status_request.container_id:
            case "bug":
                raise KeyError("secret detail")
            case "timeout":
                raise TimeoutError
            case name:
                raise NotFound("container", name)

    async def exec_sync(self, exec_sync_request: ExecSyncRequest) -> ExecSyncResponse:
        return ExecSyncResponse(stdout=bytes(exec_sync_request.timeout))

    async def get_container_events(
        self, get_events_request: GetEventsRequest
    ) -> AsyncIterator[ContainerEventResponse]:
        yield ContainerEventResponse(container_id="first")
        await self.go_on.wait()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


def describe(request: Any) -> dict[str, str]:
    return {"container": getattr(request, "container_id", "")}


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[tuple[Service, RuntimeServiceStub]]:
    service = Service()
    async with GrpcServer([service], describe=describe).listening(path):
        channel = Channel(path=str(path))
        try:
            yield service, RuntimeServiceStub(channel)
        finally:
            channel.close()


@pytest.fixture
async def grpc(tmp_path: Path) -> AsyncIterator[tuple[Service, RuntimeServiceStub]]:
    async with served(tmp_path / "run" / "s.sock") as pair:
        yield pair


async def test_fault_becomes_status_and_the_log_names_the_object(
    grpc: tuple[Service, RuntimeServiceStub],
) -> None:
    _, stub = grpc
    with structlog.testing.capture_logs() as logs, pytest.raises(GRPCError) as caught:
        await stub.container_status(ContainerStatusRequest(container_id="c1"))
    assert caught.value.status is Status.NOT_FOUND
    assert caught.value.message == "container 'c1' not found"
    (refusal,) = [entry for entry in logs if entry["event"] == "call refused"]
    assert refusal["container"] == "c1"
    assert refusal["status"] == "NOT_FOUND"


async def test_bug_is_logged_and_tells_the_client_nothing(
    grpc: tuple[Service, RuntimeServiceStub],
) -> None:
    _, stub = grpc
    with structlog.testing.capture_logs() as logs, pytest.raises(GRPCError) as caught:
        await stub.container_status(ContainerStatusRequest(container_id="bug"))
    assert caught.value.status is Status.UNKNOWN
    assert "secret" not in (caught.value.message or "")
    assert any(entry["event"] == "bug in a call" and entry["exc_info"] for entry in logs)


async def test_timeout_inside_is_deadline_exceeded(
    grpc: tuple[Service, RuntimeServiceStub],
) -> None:
    _, stub = grpc
    with pytest.raises(GRPCError) as caught:
        await stub.container_status(ContainerStatusRequest(container_id="timeout"))
    assert caught.value.status is Status.DEADLINE_EXCEEDED


async def test_unimplemented_names_the_method(grpc: tuple[Service, RuntimeServiceStub]) -> None:
    _, stub = grpc
    with pytest.raises(GRPCError) as caught:
        await stub.status(StatusRequest())
    assert caught.value.status is Status.UNIMPLEMENTED
    assert caught.value.message == "Status is not implemented"


@pytest.mark.parametrize(
    "path", ["/runtime.v1.RuntimeService/NoSuch", "/runtime.v1alpha2.RuntimeService/Version", "/x"]
)
async def test_unknown_methods_are_unimplemented_for_every_client(
    grpc: tuple[Service, RuntimeServiceStub], path: str
) -> None:
    """grpclib's client reads the status only of an answer with gRPC's content type, and so does Go's."""
    method = UnaryUnaryMethod[VersionRequest, VersionResponse](
        grpc[1].channel, path, VersionRequest, VersionResponse
    )
    with pytest.raises(GRPCError) as caught:
        await method(VersionRequest(version="x" * 100_000))
    assert caught.value.status is Status.UNIMPLEMENTED
    assert path.rpartition("/")[2] in str(caught.value.message)


async def test_deadline_of_the_client_cancels_the_handler(
    grpc: tuple[Service, RuntimeServiceStub],
) -> None:
    service, stub = grpc
    with pytest.raises((GRPCError, TimeoutError)):
        await stub.version(VersionRequest(), timeout=0.05)
    await until(lambda: service.cancelled == 1)


async def test_a_client_that_goes_away_cancels_the_handler(tmp_path: Path) -> None:
    async with served(tmp_path / "s.sock") as (service, stub):
        task = asyncio.get_running_loop().create_task(stub.version(VersionRequest()))
        await until(lambda: service.running == 1)
        task.cancel()
        await until(lambda: service.cancelled == 1)


async def test_64_calls_at_once(grpc: tuple[Service, RuntimeServiceStub]) -> None:
    service, stub = grpc
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        calls = [group.create_task(stub.version(VersionRequest(version=str(i)))) for i in range(64)]
        await until(lambda: service.running == 64)
        service.go_on.set()
    assert [call.result().version for call in calls] == [str(i) for i in range(64)]


async def test_large_messages_pass_both_ways_and_larger_ones_are_refused(
    grpc: tuple[Service, RuntimeServiceStub],
) -> None:
    _, stub = grpc
    size = MAX_MESSAGE_BYTES - 1024
    answer = await stub.exec_sync(ExecSyncRequest(container_id="x" * size, timeout=size))
    assert len(answer.stdout) == size
    with pytest.raises(GRPCError) as answer_too_large:
        await stub.exec_sync(ExecSyncRequest(timeout=MAX_MESSAGE_BYTES))
    assert answer_too_large.value.status is Status.RESOURCE_EXHAUSTED
    with pytest.raises(GRPCError) as request_too_large:
        await stub.exec_sync(ExecSyncRequest(container_id="x" * MAX_MESSAGE_BYTES))
    assert request_too_large.value.status is Status.RESOURCE_EXHAUSTED


class RawCodec(Codec):
    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)


async def test_malformed_message_is_the_clients_fault(
    grpc: tuple[Service, RuntimeServiceStub],
) -> None:
    _, stub = grpc
    channel = Channel(path=stub.channel._path, codec=RawCodec())
    method = UnaryUnaryMethod[bytes, ContainerStatusResponse](
        channel,
        "/runtime.v1.RuntimeService/ContainerStatus",
        bytes,
        ContainerStatusResponse,
    )
    with pytest.raises(GRPCError) as caught:
        await method(b"\x0a\xff\xff")
    channel.close()
    assert caught.value.status is Status.INTERNAL
    assert "ContainerStatusRequest" in (caught.value.message or "")


async def test_stream_ends_at_once_when_the_server_stops(tmp_path: Path) -> None:
    got: list[str] = []
    async with asyncio.timeout(4), asyncio.TaskGroup() as group:

        async def watch(stub: RuntimeServiceStub) -> None:
            with pytest.raises((GRPCError, StreamTerminatedError)):
                await collect(stub)

        async def collect(stub: RuntimeServiceStub) -> None:
            async for event in stub.get_container_events(GetEventsRequest()):
                got.append(event.container_id)  # noqa: PERF401  it must be seen as it comes

        async with served(tmp_path / "s.sock") as (_, stub):
            group.create_task(watch(stub))
            await until(lambda: got == ["first"])
    assert got == ["first"]


async def test_socket_is_its_owners_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "made" / "s.sock"
    async with served(path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


async def test_stale_socket_is_replaced_and_live_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with served(path) as (service, stub):
        service.go_on.set()
        assert (await stub.version(VersionRequest(version="1"))).version == "1"
        with pytest.raises(FailedPrecondition, match=str(path)):
            async with served(path):
                pass
        assert (await stub.version(VersionRequest(version="2"))).version == "2"


async def test_something_else_at_the_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    path.write_text("precious")
    with pytest.raises(FailedPrecondition, match="no socket"):
        async with served(path):
            pass
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["s.sock"]
