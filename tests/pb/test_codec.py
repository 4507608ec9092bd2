"""The codec on a real gRPC connection, and the promises of sharedrt.pb's docstring."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta, timezone

import betterproto
import betterproto_rust_codec
import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.server import Server
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.pb import codec
from sharedrt.pb.containerd.services.images.v1 import DeleteImageRequest
from sharedrt.pb.containerd.types import Descriptor
from sharedrt.pb.runtime.v1 import (
    Container,
    ContainerConfig,
    ContainerResources,
    ContainerState,
    CpuUsage,
    LinuxContainerResources,
    LinuxContainerSecurityContext,
    ListContainersRequest,
    ListContainersResponse,
    PodSandboxStatusResponse,
    RuntimeServiceBase,
    RuntimeServiceStub,
    UInt64Value,
    VersionRequest,
    VersionResponse,
)


class Runtime(RuntimeServiceBase):
    async def version(self, version_request: VersionRequest) -> VersionResponse:
        return VersionResponse(runtime_name="sharedrt", version=version_request.version)

    async def list_containers(self, _: ListContainersRequest) -> ListContainersResponse:
        one = bytes(ListContainersResponse(containers=[Container(id="a")]))
        two = bytes(ListContainersResponse(containers=[Container(id="b")]))
        return codec.Encoded(ListContainersResponse, one + two)  # type: ignore[return-value]


class RawCodec(CodecBase):
    """Sends bytes as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: object) -> bytes:
        return message

    def decode(self, data: bytes, message_type: object) -> bytes:
        return data


@pytest.fixture
async def socket(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    path = str(tmp_path_factory.mktemp("s") / "s")
    server = Server([Runtime()], codec=codec.Codec())
    await server.start(path=path)
    yield path
    server.close()
    await server.wait_closed()


async def test_calls_go_through_the_codec(socket: str) -> None:
    async with Channel(path=socket, codec=codec.Codec()) as channel:
        stub = RuntimeServiceStub(channel)
        assert (await stub.version(VersionRequest(version="v1"))).version == "v1"
        listed = await stub.list_containers(ListContainersRequest())
        assert [c.id for c in listed.containers] == ["a", "b"]


@pytest.mark.parametrize("data", [b"\x0a\x05x", b"\x0a\x01\xff", b"\xff\xff\xff", b"\x08\x01"])
async def test_bytes_that_are_no_request_are_the_clients_fault(socket: str, data: bytes) -> None:
    async with Channel(path=socket, codec=RawCodec()) as channel:
        call = UnaryUnaryMethod[bytes, bytes](
            channel, "/runtime.v1.RuntimeService/Version", bytes, bytes
        )
        with pytest.raises(GRPCError, match="cannot decode VersionRequest") as caught:
            await call(data)
        assert caught.value.status is Status.INTERNAL


def test_a_reply_of_the_wrong_type_is_refused() -> None:
    encode = codec.Codec().encode
    with pytest.raises(TypeError):
        encode(VersionRequest(), VersionResponse)
    with pytest.raises(TypeError):
        encode(codec.Encoded(VersionRequest, b""), VersionResponse)


def test_the_rust_codec_is_what_bytes_and_parse_call(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name in ("serialize", "deserialize"):
        real = getattr(betterproto_rust_codec, name)

        def spy(*args: object, real=real, name=name) -> object:  # type: ignore[no-untyped-def]
            called.append(name)
            return real(*args)

        monkeypatch.setattr(betterproto_rust_codec, name, spy)
    VersionRequest.FromString(bytes(VersionRequest(version="1")))
    assert called == ["serialize", "deserialize"]


def test_presence_of_an_empty_message() -> None:
    empty = ContainerResources(linux=codec.present(LinuxContainerResources()))
    assert bytes(empty) == b"\x0a\x00"
    assert codec.is_present(ContainerResources.FromString(b"\x0a\x00").linux)
    assert bytes(ContainerResources(linux=LinuxContainerResources())) == b""
    assert not codec.is_present(ContainerResources.FromString(b"").linux)
    assert bytes(CpuUsage(usage_nano_cores=UInt64Value(value=0))) == b"\x1a\x00"


def test_presence_of_an_optional_message() -> None:
    assert DeleteImageRequest.FromString(b"").target is None
    assert not codec.is_present(DeleteImageRequest().target)
    assert codec.is_present(DeleteImageRequest.FromString(b"\x1a\x00").target)
    assert bytes(DeleteImageRequest(target=Descriptor())) == b"\x1a\x00"


def test_a_write_into_an_unset_message_is_lost() -> None:
    """Should a new betterproto keep it, the docstring of sharedrt.pb can say so."""
    reply = PodSandboxStatusResponse()
    reply.status.metadata.name = "x"
    assert bytes(reply) == b""


@pytest.mark.parametrize("args", [("a", "b"), iter("ab")])
def test_repeated_fields_take_lists_alone(args: object) -> None:
    with pytest.raises(RuntimeError):
        bytes(ContainerConfig(args=args))  # type: ignore[arg-type]


def test_enums_of_the_future_are_plain_ints() -> None:
    known = Container.FromString(bytes(Container(state=ContainerState.CONTAINER_EXITED)))
    assert known.state is ContainerState.CONTAINER_EXITED
    unknown = Container.FromString(b"\x30\x4d")
    assert int(unknown.state) == 77
    assert type(unknown.state) is int
    assert bytes(unknown) == b"\x30\x4d"


def test_fields_of_the_future_survive() -> None:
    raw = b"\x0a\x01x" + b"\xfa\x3f\x03abc"
    assert bytes(VersionRequest.FromString(raw)) == raw


def test_deprecated_fields_parse_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parsed = LinuxContainerSecurityContext.FromString(b"\x4a\x01x")
    assert parsed.apparmor_profile == "x"
    with pytest.warns(DeprecationWarning, match="apparmor_profile"):
        LinuxContainerSecurityContext(apparmor_profile="x")


@given(st.integers(-62135596800 * 10**6, 253402300800 * 10**6 - 1))
def test_times_are_exact_to_the_microsecond(micros: int) -> None:
    moment = codec.from_unix_ns(micros * 1000 + 999)
    assert moment.tzinfo is UTC
    assert codec.to_unix_ns(moment) == micros * 1000


def test_times_of_other_zones() -> None:
    east = timezone(timedelta(hours=2))
    assert codec.to_unix_ns(datetime(1970, 1, 1, 2, 0, 0, 1, tzinfo=east)) == 1000


def test_serialized_on_wire_is_still_the_flag_that_present_sets() -> None:
    assert betterproto.serialized_on_wire(codec.present(VersionRequest()))
