"""How the CRI door answers: the status of every RPC, large messages, deadlines and cancellation at any moment, many
calls at once, and the same call twice."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import betterproto
import pytest
import pytest_asyncio
from grpclib import GRPCError, Status
from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.exceptions import StreamTerminatedError

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import IMAGE, CriClient, Raw, cri_client, docker_client
from tests.real.daemon import DaemonUnderTest
from tests.real.owned import listed, unowned
from tests.real.test_cri import pod, secured
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

MIB = 1 << 20
NONE = "0" * 64
"""An id that no object has."""


@dataclass(frozen=True)
class Rpc:
    """What a call answers to an empty request, and to one about an object that is not there.

    ``stranger``: that request; ``None`` for a call that is about no object. ``wrong``: requests with a value that makes
    no sense, each with its status. ``endless``: a stream that ends with its client.
    """

    empty: Status
    stranger: betterproto.Message | None = None
    unknown: Status = Status.NOT_FOUND
    wrong: tuple[tuple[betterproto.Message, Status], ...] = ()
    endless: bool = False


OK, INVALID, NOT_FOUND = Status.OK, Status.INVALID_ARGUMENT, Status.NOT_FOUND
_named = pb.PodSandboxMetadata(name="p", uid="u", namespace="n")
_sandbox = pb.PodSandboxConfig(metadata=_named)
_container = pb.ContainerConfig(
    metadata=pb.ContainerMetadata(name="c"), image=pb.ImageSpec(image=IMAGE)
)
_no_image = pb.ImageSpec(image="nosuch.example/image:1")
_no_reference = pb.ImageSpec(image="UPPER/Case")
RUNTIME = {
    "Version": Rpc(OK),
    "RunPodSandbox": Rpc(
        INVALID,
        pb.RunPodSandboxRequest(config=_sandbox, runtime_handler="nosuch"),
        wrong=(
            (pb.RunPodSandboxRequest(config=pb.PodSandboxConfig(hostname="h")), INVALID),
            (
                pb.RunPodSandboxRequest(
                    config=pb.PodSandboxConfig(metadata=_named, hostname="h" * 65)
                ),
                INVALID,
            ),
        ),
    ),
    "StopPodSandbox": Rpc(INVALID, pb.StopPodSandboxRequest(pod_sandbox_id=NONE), OK),
    "RemovePodSandbox": Rpc(INVALID, pb.RemovePodSandboxRequest(pod_sandbox_id=NONE), OK),
    "PodSandboxStatus": Rpc(INVALID, pb.PodSandboxStatusRequest(pod_sandbox_id=NONE)),
    "ListPodSandbox": Rpc(OK, pb.ListPodSandboxRequest(filter=pb.PodSandboxFilter(id=NONE)), OK),
    "StreamPodSandboxes": Rpc(
        OK, pb.StreamPodSandboxesRequest(filter=pb.PodSandboxFilter(id=NONE)), OK
    ),
    "CreateContainer": Rpc(
        INVALID,
        pb.CreateContainerRequest(pod_sandbox_id=NONE, config=_container, sandbox_config=_sandbox),
    ),
    "StartContainer": Rpc(INVALID, pb.StartContainerRequest(container_id=NONE)),
    "StopContainer": Rpc(
        INVALID,
        pb.StopContainerRequest(container_id=NONE),
        OK,
        wrong=((pb.StopContainerRequest(container_id=NONE, timeout=-1), INVALID),),
    ),
    "RemoveContainer": Rpc(INVALID, pb.RemoveContainerRequest(container_id=NONE), OK),
    "ListContainers": Rpc(OK, pb.ListContainersRequest(filter=pb.ContainerFilter(id=NONE)), OK),
    "StreamContainers": Rpc(OK, pb.StreamContainersRequest(filter=pb.ContainerFilter(id=NONE)), OK),
    "ContainerStatus": Rpc(INVALID, pb.ContainerStatusRequest(container_id=NONE)),
    "UpdateContainerResources": Rpc(INVALID, pb.UpdateContainerResourcesRequest(container_id=NONE)),
    "ReopenContainerLog": Rpc(INVALID, pb.ReopenContainerLogRequest(container_id=NONE)),
    "ExecSync": Rpc(
        INVALID,
        pb.ExecSyncRequest(container_id=NONE, cmd=["true"]),
        wrong=(
            (pb.ExecSyncRequest(container_id=NONE), INVALID),
            (pb.ExecSyncRequest(container_id=NONE, cmd=["true"], timeout=-1), INVALID),
        ),
    ),
    "Exec": Rpc(
        INVALID,
        pb.ExecRequest(container_id=NONE, cmd=["true"], stdout=True),
        wrong=(
            (pb.ExecRequest(container_id=NONE, cmd=["true"]), INVALID),
            (
                pb.ExecRequest(container_id=NONE, cmd=["true"], stderr=True, tty=True),
                INVALID,
            ),
        ),
    ),
    "Attach": Rpc(
        INVALID,
        pb.AttachRequest(container_id=NONE, stdout=True),
        wrong=((pb.AttachRequest(container_id=NONE), INVALID),),
    ),
    "PortForward": Rpc(INVALID, pb.PortForwardRequest(pod_sandbox_id=NONE, port=[80])),
    "ContainerStats": Rpc(INVALID, pb.ContainerStatsRequest(container_id=NONE)),
    "ListContainerStats": Rpc(
        OK, pb.ListContainerStatsRequest(filter=pb.ContainerStatsFilter(id=NONE)), OK
    ),
    "StreamContainerStats": Rpc(
        OK, pb.StreamContainerStatsRequest(filter=pb.ContainerStatsFilter(id=NONE)), OK
    ),
    "PodSandboxStats": Rpc(INVALID, pb.PodSandboxStatsRequest(pod_sandbox_id=NONE)),
    "ListPodSandboxStats": Rpc(
        OK, pb.ListPodSandboxStatsRequest(filter=pb.PodSandboxStatsFilter(id=NONE)), OK
    ),
    "StreamPodSandboxStats": Rpc(
        OK, pb.StreamPodSandboxStatsRequest(filter=pb.PodSandboxStatsFilter(id=NONE)), OK
    ),
    "UpdateRuntimeConfig": Rpc(OK),
    "Status": Rpc(OK),
    "CheckpointContainer": Rpc(
        INVALID,
        pb.CheckpointContainerRequest(container_id=NONE, location="/tmp/x.tar"),
        wrong=(),
    ),
    "GetContainerEvents": Rpc(OK, endless=True),
    "ListMetricDescriptors": Rpc(OK),
    "ListPodSandboxMetrics": Rpc(OK),
    "StreamPodSandboxMetrics": Rpc(OK),
    "RuntimeConfig": Rpc(OK),
    "UpdatePodSandboxResources": Rpc(
        INVALID, pb.UpdatePodSandboxResourcesRequest(pod_sandbox_id=NONE)
    ),
}
IMAGES = {
    "ListImages": Rpc(OK, pb.ListImagesRequest(filter=pb.ImageFilter(image=_no_image)), OK),
    "StreamImages": Rpc(OK, pb.StreamImagesRequest(filter=pb.ImageFilter(image=_no_image)), OK),
    "ImageStatus": Rpc(INVALID, pb.ImageStatusRequest(image=_no_image), OK),
    "PullImage": Rpc(
        INVALID,
        pb.PullImageRequest(image=pb.ImageSpec(image="127.0.0.1:1/none:1")),
        Status.UNAVAILABLE,
        wrong=((pb.PullImageRequest(image=_no_reference), INVALID),),
    ),
    "RemoveImage": Rpc(INVALID, pb.RemoveImageRequest(image=_no_image), OK),
    "ImageFsInfo": Rpc(OK),
}
RPCS = {
    **{f"/runtime.v1.RuntimeService/{name}": rpc for name, rpc in RUNTIME.items()},
    **{f"/runtime.v1.ImageService/{name}": rpc for name, rpc in IMAGES.items()},
}


def declared() -> dict[str, bool]:
    """Every RPC of the two services by its path, and whether it answers with a stream."""
    handlers = {
        **pb.RuntimeServiceBase().__mapping__(),
        **pb.ImageServiceBase().__mapping__(),
    }
    return {path: handler.cardinality.server_streaming for path, handler in handlers.items()}


@pytest_asyncio.fixture(loop_scope="module")
async def raw(daemon: DaemonUnderTest) -> AsyncIterator[Channel]:
    async with Channel(path=str(daemon.socket("cri")), codec=Raw()) as channel:
        yield channel


async def ask(channel: Channel, path: str, data: bytes) -> tuple[Status, str]:
    """The status and message of a call; of an endless stream, what comes of it within a moment."""
    try:
        if RPCS[path].endless:
            method = UnaryStreamMethod[bytes, bytes](channel, path, bytes, bytes)
            async with method.open(timeout=0.3) as stream:
                await stream.send_message(data, end=True)
                await stream.recv_message()
        elif declared()[path]:
            await UnaryStreamMethod[bytes, bytes](channel, path, bytes, bytes)(data)
        else:
            await UnaryUnaryMethod[bytes, bytes](channel, path, bytes, bytes)(data)
    except GRPCError as error:
        # The daemon may see the end of an endless stream's moment before this client does.
        if not (RPCS[path].endless and error.status is Status.DEADLINE_EXCEEDED):
            return error.status, error.message or ""
    except TimeoutError:
        assert RPCS[path].endless
    return Status.OK, ""


async def test_the_table_has_every_rpc() -> None:
    assert set(RPCS) == set(declared())
    assert len(RPCS) == 41
    streams = {path.rpartition("/")[2] for path, streaming in declared().items() if streaming}
    assert {name for name in streams if not name.startswith("Stream")} == {"GetContainerEvents"}


@pytest.mark.parametrize("path", RPCS, ids=lambda path: path.rpartition("/")[2])
async def test_the_status_of_every_rpc(daemon: DaemonUnderTest, raw: Channel, path: str) -> None:
    rpc = RPCS[path]
    status, words = await ask(raw, path, b"")
    assert status is rpc.empty, words
    if rpc.stranger is not None:
        status, words = await ask(raw, path, bytes(rpc.stranger))
        assert status is rpc.unknown, words
        assert status is Status.OK or "\n" not in words
        assert status is not Status.NOT_FOUND or NONE in words or "nosuch" in words
    for request, expected in rpc.wrong:
        status, words = await ask(raw, path, bytes(request))
        assert status is expected, (request, words)
        assert words
    # Bytes that are no such message; the first field as another type; one from a newer API.
    if not rpc.endless:
        for data in (b"\xff\xff\xff", b"\x0a\xff\x01x", b"\x0b"):
            status, words = await ask(raw, path, data)
            assert status is Status.INTERNAL, data
            assert "cannot decode" in words
    status, words = await ask(raw, path, b"\xfa\x7f\x01x")
    assert status is rpc.empty, words
    status, words = await ask(raw, path, b"\x0d\x01\x00\x00\x00")
    assert status in (rpc.empty, Status.INTERNAL), words
    assert "bug in a call" not in daemon.log()


async def test_an_rpc_that_there_is_not(daemon: DaemonUnderTest, raw: Channel) -> None:
    for path in ("/runtime.v1.RuntimeService/NoSuch", "/runtime.v1alpha2.RuntimeService/Version"):
        method = UnaryUnaryMethod[bytes, bytes](raw, path, bytes, bytes)
        with pytest.raises(GRPCError) as caught:
            await method(b"")
        assert caught.value.status is Status.UNIMPLEMENTED


# ---------------------------------------------------------------- sizes and numbers


async def test_messages_of_16_mib_pass_both_ways(daemon: DaemonUnderTest, cri: CriClient) -> None:
    """In: an annotation. Out: the list of what has it, and a command's output."""
    for size, passes in ((4 * MIB, True), (16 * MIB - 4096, True), (16 * MIB + 1, False)):
        config = cri.pod_config("large", annotations={"large": "x" * size})
        if not passes:
            with pytest.raises(GRPCError) as caught:
                await cri.run_pod(config)
            assert caught.value.status is Status.RESOURCE_EXHAUSTED
            continue
        id = await cri.run_pod(config)
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=id)
        reply = await cri.runtime.pod_sandbox_status(request)
        assert len(reply.status.annotations["large"]) == size
        (item,) = (await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())).items
        assert len(item.annotations["large"]) == size
        streamed = cri.runtime.stream_pod_sandboxes(pb.StreamPodSandboxesRequest())
        assert [i.id async for reply in streamed for i in reply.pod_sandboxes] == [id]
        await cri.remove_pod(id)
    async with pod(cri, "output") as (id, sandbox):
        container = await cri.create(id, sandbox, "main", ["sleep", "60"], linux=secured())
        await cri.start(container)
        reply_out = await cri.exec_sync(container, "head", "-c", str(20 * MIB), "/dev/zero")
        assert len(reply_out.stdout) == 16 * MIB - 1024
    # Too much for one message is an error for the call alone, and a stream has room for it.
    pods = [
        await cri.run_pod(cri.pod_config(f"half{n}", annotations={"large": "x" * (9 * MIB)}))
        for n in range(2)
    ]
    with pytest.raises(GRPCError) as caught:
        await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())
    assert caught.value.status is Status.RESOURCE_EXHAUSTED
    streamed = cri.runtime.stream_pod_sandboxes(pb.StreamPodSandboxesRequest())
    assert {i.id async for reply in streamed for i in reply.pod_sandboxes} == set(pods)
    for id in pods:
        await cri.remove_pod(id)


async def test_64_calls_at_once(daemon: DaemonUnderTest, cri: CriClient) -> None:
    """Of one connection: pods made, containers made in them, started, asked, removed; each as if alone."""
    config = [cri.pod_config(f"crowd{n}") for n in range(16)]
    pods = await asyncio.gather(*(cri.run_pod(one) for one in config))
    assert len(set(pods)) == 16
    made = [(pods[n % 16], config[n % 16], f"c{n}") for n in range(64)]
    containers = await asyncio.gather(
        *(cri.create(id, sandbox, name, ["sleep", "60"]) for id, sandbox, name in made)
    )
    assert len(set(containers)) == 64
    await asyncio.gather(*(cri.start(id) for id in containers))
    statuses = await asyncio.gather(*(cri.status(id) for id in containers))
    assert [status.id for status in statuses] == list(containers)
    assert {status.state for status in statuses} == {pb.ContainerState.CONTAINER_RUNNING}
    await asyncio.gather(*(cri.remove_pod(id) for id in pods))
    await clean(daemon, cri)


async def clean(daemon: DaemonUnderTest, cri: CriClient) -> None:
    """Soon nothing is there: no object, and nothing on the host or in the database."""
    async with docker_client(daemon.socket("docker")) as docker:

        async def nothing() -> bool:
            owners = await listed(cri, docker)
            return not owners.all and not unowned(daemon, owners)

        await until(nothing)
    assert rows(daemon) == []


def rows(daemon: DaemonUnderTest) -> list[str]:
    """Of the tables that objects of pods have."""
    tables = ("sandboxes", "containers", "operations", "endpoints", "endpoint_addresses")
    path = daemon.root / "state" / "sharedrt.db"
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = [
        f"{table} {row}" for table in tables for row in database.execute(f"SELECT * FROM {table}")
    ]
    found += [
        f"snapshot {row}"
        for row in database.execute("SELECT * FROM snapshots WHERE key NOT LIKE 'sha256:%'")
    ]
    database.close()
    return found


# ---------------------------------------------------------------- deadlines and cancellation


_GIVEN_UP = (Status.DEADLINE_EXCEEDED, Status.CANCELLED)


@dataclass
class Attempts:
    """Calls given up after ever longer times, until one is answered in time."""

    given_up: int = 0
    steps: list[float] = field(default_factory=lambda: [0.0005 * 1.3**n for n in range(32)])

    async def make(self, call: Callable[[float], Any]) -> Any:
        for timeout_s in self.steps:
            try:
                return await call(timeout_s)
            except (GRPCError, TimeoutError, StreamTerminatedError) as error:
                if getattr(error, "status", Status.CANCELLED) not in _GIVEN_UP:
                    raise
            self.given_up += 1
        raise AssertionError("not even the longest time was enough")


async def test_deadlines_at_any_moment(daemon: DaemonUnderTest, cri: CriClient) -> None:
    """Each call of a pod's making is given up at ever later moments, and made again: once made, never twice."""
    attempts = Attempts()
    config = cri.pod_config("deadlines")
    run = pb.RunPodSandboxRequest(config=config)
    id = (await attempts.make(lambda t: cri.runtime.run_pod_sandbox(run, timeout=t))).pod_sandbox_id
    items = (await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())).items
    assert [item.id for item in items] == [id]
    create = pb.CreateContainerRequest(
        pod_sandbox_id=id,
        config=pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name="main"),
            image=pb.ImageSpec(image=IMAGE),
            command=["sleep", "60"],
            linux=secured(),
        ),
        sandbox_config=config,
    )
    container = (
        await attempts.make(lambda t: cri.runtime.create_container(create, timeout=t))
    ).container_id
    containers = (await cri.runtime.list_containers(pb.ListContainersRequest())).containers
    assert [one.id for one in containers] == [container]

    async def start(timeout_s: float) -> bool:
        request = pb.StartContainerRequest(container_id=container)
        try:
            await cri.runtime.start_container(request, timeout=timeout_s)
        except GRPCError as error:
            # An earlier call's start came to its end.
            if error.status is not Status.FAILED_PRECONDITION:
                raise
        return True

    await attempts.make(start)

    async def runs() -> bool:
        return (await cri.status(container)).state is pb.ContainerState.CONTAINER_RUNNING

    await until(runs)
    stop = pb.StopContainerRequest(container_id=container)
    await attempts.make(lambda t: cri.runtime.stop_container(stop, timeout=t))
    remove = pb.RemoveContainerRequest(container_id=container)
    await attempts.make(lambda t: cri.runtime.remove_container(remove, timeout=t))
    stop_pod = pb.StopPodSandboxRequest(pod_sandbox_id=id)
    await attempts.make(lambda t: cri.runtime.stop_pod_sandbox(stop_pod, timeout=t))
    remove_pod = pb.RemovePodSandboxRequest(pod_sandbox_id=id)
    await attempts.make(lambda t: cri.runtime.remove_pod_sandbox(remove_pod, timeout=t))
    assert attempts.given_up > 20
    await clean(daemon, cri)


@pytest.mark.parametrize("after_s", [0.001, 0.004, 0.01, 0.02, 0.04, 0.08])
async def test_clients_that_vanish(daemon: DaemonUnderTest, after_s: float) -> None:
    """The connection breaks in the middle of making pods and containers. What is listed then is whole, serves, and can
    be removed; of the rest nothing is left."""
    config: list[pb.PodSandboxConfig] = []

    async def burst() -> None:
        async with cri_client(daemon.socket("cri"), daemon.root / "pods") as gone:
            config.extend(gone.pod_config(f"vanish{n}") for n in range(4))

            async def make(one: pb.PodSandboxConfig) -> None:
                id = await gone.run_pod(one)
                container = await gone.create(id, one, "main", ["sleep", "60"])
                await gone.start(container)

            async with asyncio.TaskGroup() as group:
                for one in config:
                    group.create_task(make(one))

    try:
        async with asyncio.timeout(after_s):
            await burst()
    except TimeoutError:
        pass
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as cri:
        ids = await asyncio.gather(*(cri.run_pod(one) for one in config))
        assert len(set(ids)) == len(config)
        items = (await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())).items
        assert {item.id for item in items} == set(ids), "none was made twice"
        for id in ids:
            await cri.remove_pod(id)
        await clean(daemon, cri)


async def test_the_same_call_while_the_first_runs(daemon: DaemonUnderTest, cri: CriClient) -> None:
    config = cri.pod_config("same")
    ids = await asyncio.gather(*(cri.run_pod(config) for _ in range(8)))
    assert len(set(ids)) == 1
    assert await cri.run_pod(config) == ids[0], "nor after it"
    again = cri.pod_config("same", metadata=config.metadata)
    again.metadata.attempt += 1
    other = await cri.run_pod(again)
    assert other != ids[0], "another attempt is another sandbox"
    made = await asyncio.gather(
        *(cri.create(ids[0], config, "main", ["sleep", "60"]) for _ in range(8))
    )
    assert len(set(made)) == 1
    with pytest.raises(GRPCError) as caught:
        await cri.create(ids[0], config, "main", ["sleep", "61"])
    assert caught.value.status is Status.ALREADY_EXISTS, "the same name for something else"
    await cri.start(made[0])
    with pytest.raises(GRPCError) as caught:
        await cri.create(ids[0], config, "main", ["sleep", "60"])
    assert caught.value.status is Status.ALREADY_EXISTS, "it was started meanwhile"
    containers = (await cri.runtime.list_containers(pb.ListContainersRequest())).containers
    assert [one.id for one in containers] == [made[0]]
    for id in (ids[0], other):
        await cri.remove_pod(id)
    await clean(daemon, cri)
