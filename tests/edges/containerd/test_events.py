"""Events: ours translated, those of clients passed on, filters."""

import asyncio
from typing import Any

import pytest
from betterproto.lib.google.protobuf import Any as AnyMessage
from grpclib import GRPCError, Status
from grpclib.client import Channel

from sharedrt.edges.containerd.envelopes import fields_of_envelope, to_envelope
from sharedrt.edges.containerd.published import MAX_LAG, PublishedEvents
from sharedrt.model.faults import ResourceExhausted
from sharedrt.model.ids import ContainerId, Digest, Namespace
from sharedrt.model.records import ContainerRecord, EventRecord
from sharedrt.model.spec import ContainerSpec
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd import events
from sharedrt.pb.containerd.services.events import v1 as pb
from sharedrt.pb.containerd.services.images.v1 import ImageCreate, ImageDelete
from sharedrt.pb.containerd.services.namespaces.v1 import (
    CreateNamespaceRequest,
    NamespacesStub,
)
from sharedrt.pb.containerd.services.namespaces.v1 import Namespace as NamespaceMessage
from sharedrt.pb.containerd.types import Envelope
from tests.edges.containerd.conftest import IN_K8S
from tests.edges.containerd.fakes import FakeRuntime

NS = Namespace("k8s.io")
WHEN = 1_700_000_000_123_456_000
ID = "a" * 64


def record(kind: str, action: str, actor: str = ID, **attributes: str) -> EventRecord:
    return EventRecord(1, WHEN, kind, action, actor, attributes)


def pid_of(namespace: Namespace, id: str) -> int:
    return 99


@pytest.mark.parametrize(
    ("event", "topic", "type_url", "message"),
    [
        (
            record("container", "create", image="busybox"),
            "/containers/create",
            "containerd.events.ContainerCreate",
            events.ContainerCreate(id=ID, image="busybox"),
        ),
        (
            record("container", "rename", image="busybox"),
            "/containers/update",
            "containerd.events.ContainerUpdate",
            events.ContainerUpdate(id=ID, image="busybox", snapshot_key=ID),
        ),
        (
            record("container", "destroy"),
            "/containers/delete",
            "containerd.events.ContainerDelete",
            events.ContainerDelete(id=ID),
        ),
        (
            record("container", "start"),
            "/tasks/start",
            "containerd.events.TaskStart",
            events.TaskStart(container_id=ID, pid=99),
        ),
        (
            record("container", "die", exitCode="137"),
            "/tasks/exit",
            "containerd.events.TaskExit",
            events.TaskExit(container_id=ID, id=ID, exit_status=137, exited_at=from_unix_ns(WHEN)),
        ),
        (
            record("container", "oom"),
            "/tasks/oom",
            "containerd.events.TaskOOM",
            events.TaskOom(container_id=ID),
        ),
        (
            record("container", "pause"),
            "/tasks/paused",
            "containerd.events.TaskPaused",
            events.TaskPaused(container_id=ID),
        ),
        (
            record("container", "unpause"),
            "/tasks/resumed",
            "containerd.events.TaskResumed",
            events.TaskResumed(container_id=ID),
        ),
        (
            record("container", "exec_create: sh -c x", execID="e"),
            "/tasks/exec-added",
            "containerd.events.TaskExecAdded",
            events.TaskExecAdded(container_id=ID, exec_id="e"),
        ),
        (
            record("container", "exec_start: sh -c x", execID="e"),
            "/tasks/exec-started",
            "containerd.events.TaskExecStarted",
            events.TaskExecStarted(container_id=ID, exec_id="e"),
        ),
        (
            record("container", "exec_die", execID="e", exitCode="3"),
            "/tasks/exit",
            "containerd.events.TaskExit",
            events.TaskExit(container_id=ID, id="e", exit_status=3, exited_at=from_unix_ns(WHEN)),
        ),
        (
            record("image", "pull", "busybox", reference="docker.io/library/busybox:latest"),
            "/images/create",
            "containerd.services.images.v1.ImageCreate",
            ImageCreate(name="docker.io/library/busybox:latest"),
        ),
        (
            record("image", "untag", "sha256:1", reference="docker.io/x:1"),
            "/images/delete",
            "containerd.services.images.v1.ImageDelete",
            ImageDelete(name="docker.io/x:1"),
        ),
        (
            record("content", "delete", "sha256:1"),
            "/content/delete",
            "containerd.events.ContentDelete",
            events.ContentDelete(digest="sha256:1"),
        ),
    ],
)
def test_translation(event: EventRecord, topic: str, type_url: str, message: Any) -> None:
    envelope = to_envelope(NS, event, pid_of)
    assert envelope is not None
    assert (envelope.topic, envelope.namespace) == (topic, NS)
    assert envelope.timestamp == from_unix_ns(WHEN)
    assert envelope.event.type_url == type_url
    assert type(message).FromString(envelope.event.value) == message


@pytest.mark.parametrize(
    "event",
    [
        record("image", "delete", "sha256:1"),
        record("content", "create", "sha256:1"),
        record("sandbox", "start"),
        record("network", "connect"),
        record("container", "attach"),
    ],
)
def test_without_a_counterpart(event: EventRecord) -> None:
    assert to_envelope(NS, event, pid_of) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["topic"], "/containers/create"),
        (["namespace"], "k8s.io"),
        (["event", "id"], ID),
        (["event", "image"], "busybox"),
        (["event", "runtime", "name"], None),
        (["event", "nonsense"], None),
        (["event"], None),
        (["other"], None),
    ],
)
def test_fields_for_filters(path: list[str], value: str | None) -> None:
    envelope = to_envelope(NS, record("container", "create", image="busybox"), pid_of)
    assert envelope is not None
    assert fields_of_envelope(envelope)(path) == value


def test_fields_of_labels_and_of_unknown_events() -> None:
    message = events.NamespaceCreate(name="n", labels={"a.b": "c"})
    any_message = AnyMessage(type_url="x/containerd.events.NamespaceCreate", value=bytes(message))
    assert fields_of_envelope(Envelope(event=any_message))(["event", "labels", "a", "b"]) == "c"
    unknown = AnyMessage(type_url="vendor.Thing", value=b"\xff\xff")
    assert fields_of_envelope(Envelope(event=unknown))(["event", "id"]) is None


class Subscriber:
    """A Subscribe call, and what it got."""

    def __init__(self, channel: Channel, runtime: FakeRuntime) -> None:
        self._channel, self._runtime = channel, runtime
        self.got: asyncio.Queue[Envelope] = asyncio.Queue()

    async def open(self, tasks: asyncio.TaskGroup, *filters: str) -> "asyncio.Task[None]":
        before = len(self._runtime.all_namespaces.queues)
        task = tasks.create_task(self._read(list(filters)))
        for _ in range(1000):
            if len(self._runtime.all_namespaces.queues) > before:
                return task
            await asyncio.sleep(0.001)
        raise AssertionError("not subscribed")

    async def _read(self, filters: list[str]) -> None:
        request = pb.SubscribeRequest(filters=filters)
        async for envelope in pb.EventsStub(self._channel).subscribe(request):
            self.got.put_nowait(envelope)


async def test_subscription(channel: Channel, runtime: FakeRuntime) -> None:
    runtime.within(NS).containers.add(
        ContainerRecord(
            id=ContainerId(ID),
            name="",
            image_reference="x",
            image_id=Digest("x"),
            spec=ContainerSpec(),
            pid=77,
        )
    )
    subscriber, filtered = Subscriber(channel, runtime), Subscriber(channel, runtime)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        open_ones = [
            await subscriber.open(tasks),
            await filtered.open(
                tasks, "topic~=foreign", "namespace==team", "event.container_id==none"
            ),
        ]
        runtime.all_namespaces.tell("k8s.io", record("container", "start"))
        started = await subscriber.got.get()
        assert events.TaskStart.FromString(started.event.value).pid == 77
        publish = pb.PublishRequest(
            topic="/foreign/thing", event=AnyMessage(type_url="vendor.Thing", value=b"1")
        )
        stub = pb.EventsStub(channel)
        garbage = AnyMessage(type_url="containerd.events.TaskExit", value=b"\xff")
        await stub.publish(pb.PublishRequest(topic="/tasks/exit", event=garbage), metadata=IN_K8S)
        assert (await subscriber.got.get()).event == garbage
        await stub.publish(publish, metadata=IN_K8S)
        passed = await subscriber.got.get()
        assert (passed.namespace, passed.topic) == ("k8s.io", "/foreign/thing")
        assert passed.event.value == b"1"
        assert (await filtered.got.get()).topic == "/foreign/thing"
        forward = Envelope(namespace="team", topic="/a/b", event=AnyMessage(type_url="v"))
        await stub.forward(pb.ForwardRequest(envelope=forward))
        assert (await filtered.got.get()).namespace == "team"
        await subscriber.got.get()
        made = CreateNamespaceRequest(namespace=NamespaceMessage(name="team"))
        await NamespacesStub(channel).create(made)
        assert (await subscriber.got.get()).topic == "/namespaces/create"
        assert (await filtered.got.get()).topic == "/namespaces/create"
        for task in open_ones:
            task.cancel()
    for _ in range(1000):
        if not runtime.all_namespaces.queues:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("a subscription outlives its client")


@pytest.mark.parametrize("topic", ["", "x", "/", "/a//b", "/a/"])
async def test_malformed_topics(channel: Channel, topic: str) -> None:
    with pytest.raises(GRPCError) as caught:
        await pb.EventsStub(channel).publish(pb.PublishRequest(topic=topic), metadata=IN_K8S)
    assert caught.value.status is Status.INVALID_ARGUMENT


async def test_a_listener_that_lags_is_ended() -> None:
    published = PublishedEvents()
    with published.listen() as envelopes:
        for number in range(MAX_LAG + 10):
            published.publish(Envelope(topic=f"/{number}"))
        got = [await anext(envelopes) for _ in range(MAX_LAG)]
        assert got[-1].topic == f"/{MAX_LAG - 1}"
        with pytest.raises(ResourceExhausted):
            await anext(envelopes)
    published.publish(Envelope())  # nobody listens any more
