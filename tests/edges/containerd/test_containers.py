"""Containers and tasks, as they are shown."""

import json
from typing import Any

import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel

from sharedrt.model.ids import ContainerId, Digest, SandboxId, SnapshotKey
from sharedrt.model.records import ContainerRecord, ContainerState, SandboxRecord, SandboxSpec
from sharedrt.model.spec import ContainerSpec, ImageDefaults
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd.services.containers.v1 import (
    Container,
    ContainersStub,
    CreateContainerRequest,
    DeleteContainerRequest,
    GetContainerRequest,
    ListContainersRequest,
    UpdateContainerRequest,
)
from sharedrt.pb.containerd.services.tasks import v1 as tasks
from sharedrt.pb.containerd.v1.types import Status as TaskStatus
from tests.edges.containerd.conftest import IN_K8S, IN_MOBY

A, B, POD = "a" * 64, "b" * 64, "d" * 64


@pytest.fixture(autouse=True)
def containers(here: Any) -> Any:
    here.containers.add(
        ContainerRecord(
            id=ContainerId(A),
            name="web",
            image_reference="docker.io/library/busybox:latest",
            image_id=Digest("sha256:" + "1" * 64),
            spec=ContainerSpec(
                tty=True, command=("serve",), args=("-v",), env=("A=client", "GONE"), cwd="/w"
            ),
            image_defaults=ImageDefaults(cmd=("sh",), env=("PATH=/bin", "A=image", "GONE=1")),
            annotations={"note": "n"},
            sandbox_id=SandboxId("pod"),
            runtime_handler="runc",
            labels={"app": "web"},
            snapshot_key=SnapshotKey(A),
            state=ContainerState.RUNNING,
            pid=4242,
            created_ns=1_000_000_000,
            started_ns=2_000_000_000,
        )
    )
    here.containers.add(
        ContainerRecord(
            id=ContainerId(B),
            name="",
            image_reference="alpine",
            image_id=Digest("sha256:" + "2" * 64),
            spec=ContainerSpec(),
        )
    )
    return here.containers


async def test_get(channel: Channel) -> None:
    stub = ContainersStub(channel)
    reply = await stub.get(GetContainerRequest(id=A), metadata=IN_K8S)
    found = reply.container
    assert (found.id, found.image, found.runtime.name) == (
        A,
        "docker.io/library/busybox:latest",
        "runc",
    )
    assert (found.snapshotter, found.snapshot_key, found.sandbox) == ("overlayfs", A, "pod")
    assert found.labels == {"app": "web", "io.cri-containerd.kind": "container"}
    assert found.created_at == from_unix_ns(1_000_000_000)
    assert found.updated_at == from_unix_ns(2_000_000_000)
    other = (await stub.get(GetContainerRequest(id=B), metadata=IN_K8S)).container
    assert other.runtime.name == "crun", "the default handler"
    assert other.snapshotter == ""


async def test_each_has_its_specification(channel: Channel) -> None:
    """cAdvisor, in a kubelet, reads it of every container whose cgroup it finds, and dies where there is none."""
    stub = ContainersStub(channel)
    listed = (await stub.list(ListContainersRequest(), metadata=IN_K8S)).containers
    assert {container.id for container in listed} == {A, B}
    for container in listed:
        assert container.spec.type_url == "types.containerd.io/opencontainers/runtime-spec/1/Spec"
        assert json.loads(container.spec.value)["process"]["env"] is not None
    found = (await stub.get(GetContainerRequest(id=A), metadata=IN_K8S)).container
    spec = json.loads(found.spec.value)
    assert spec["process"] == {
        "terminal": True,
        "args": ["serve", "-v"],
        "env": ["PATH=/bin", "A=client"],
        "cwd": "/w",
    }
    assert spec["annotations"] == {"note": "n"}


async def test_another_namespaces_container_is_like_none_at_all(channel: Channel) -> None:
    answers = []
    for id in (A, "f" * 64):
        with pytest.raises(GRPCError) as caught:
            await ContainersStub(channel).get(GetContainerRequest(id=id), metadata=IN_MOBY)
        answers.append((caught.value.status, str(caught.value.message).replace(id, "ID")))
    assert answers[0] == answers[1]
    assert answers[0][0] is Status.NOT_FOUND


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([], [A, B]),
        (["id==" + A], [A]),
        (["image~=busybox"], [A]),
        (["runtime.name==crun"], [B]),
        (["labels.app==web", "image==alpine"], [A, B]),
    ],
)
async def test_list(channel: Channel, filters: list[str], ids: list[str]) -> None:
    request = ListContainersRequest(filters=filters)
    reply = await ContainersStub(channel).list(request, metadata=IN_K8S)
    assert [c.id for c in reply.containers] == ids
    stream = ContainersStub(channel).list_stream(request, metadata=IN_K8S)
    assert [message.container.id async for message in stream] == ids


async def test_a_malformed_filter(channel: Channel) -> None:
    request = ListContainersRequest(filters=["id=="])
    with pytest.raises(GRPCError) as caught:
        await ContainersStub(channel).list(request, metadata=IN_K8S)
    assert caught.value.status is Status.INVALID_ARGUMENT


async def test_making_containers_is_refused_by_name(channel: Channel) -> None:
    stub = ContainersStub(channel)
    with pytest.raises(GRPCError, match=r"Containers\.Create .* CRI or the Docker API"):
        await stub.create(CreateContainerRequest(container=Container(id="x")), metadata=IN_K8S)
    with pytest.raises(GRPCError, match=r"Containers\.Update"):
        await stub.update(UpdateContainerRequest(container=Container(id=A)), metadata=IN_K8S)
    with pytest.raises(GRPCError, match=r"Containers\.Delete"):
        await stub.delete(DeleteContainerRequest(id=A), metadata=IN_K8S)


async def test_tasks_are_the_running_containers(channel: Channel, containers: Any) -> None:
    stub = tasks.TasksStub(channel)
    listed = (await stub.list(tasks.ListTasksRequest(), metadata=IN_K8S)).tasks
    assert [(t.id, t.pid, t.status, t.terminal) for t in listed] == [
        (A, 4242, TaskStatus.RUNNING, True)
    ]
    with pytest.raises(GRPCError) as caught:
        await stub.get(tasks.GetRequest(container_id=B), metadata=IN_K8S)
    assert caught.value.status is Status.NOT_FOUND
    await stub.pause(tasks.PauseTaskRequest(container_id=A), metadata=IN_K8S)
    process = (await stub.get(tasks.GetRequest(container_id=A), metadata=IN_K8S)).process
    assert process.status is TaskStatus.PAUSED
    await stub.resume(tasks.ResumeTaskRequest(container_id=A), metadata=IN_K8S)
    pids = await stub.list_pids(tasks.ListPidsRequest(container_id=A), metadata=IN_K8S)
    assert [p.pid for p in pids.processes] == [4242, 4343]
    await stub.kill(tasks.KillRequest(container_id=A, signal=9), metadata=IN_K8S)
    assert containers.calls == [("kill", A, "9")]
    ended = await stub.wait(tasks.WaitRequest(container_id=A), metadata=IN_K8S)
    assert (ended.exit_status, ended.exited_at) == (7, from_unix_ns(5_000))


async def test_what_tasks_cannot_do(channel: Channel) -> None:
    stub = tasks.TasksStub(channel)
    with pytest.raises(GRPCError, match=r"Tasks\.Create"):
        await stub.create(tasks.CreateTaskRequest(container_id=A), metadata=IN_K8S)
    with pytest.raises(GRPCError, match=r"Tasks\.Start"):
        await stub.start(tasks.StartRequest(container_id=A), metadata=IN_K8S)
    with pytest.raises(GRPCError, match="of an exec"):
        await stub.get(tasks.GetRequest(container_id=A, exec_id="e"), metadata=IN_K8S)
    with pytest.raises(GRPCError, match="with all"):
        await stub.kill(tasks.KillRequest(container_id=A, signal=9, all=True), metadata=IN_K8S)
    with pytest.raises(GRPCError, match=r"Tasks\.Metrics is not supported"):
        await stub.metrics(tasks.MetricsRequest(), metadata=IN_K8S)


@pytest.fixture
def pod(here: Any) -> SandboxRecord:
    record = SandboxRecord(
        id=SandboxId(POD),
        name="web",
        uid="u",
        pod_namespace="default",
        attempt=0,
        spec=SandboxSpec(hostname="web", cgroup_parent="/kubepods/u"),
        labels={"io.kubernetes.pod.name": "web"},
        netns_path="/run/netns",
        created_ns=3_000_000_000,
    )
    here.pods.records[POD] = record
    return record


async def test_a_pod_is_a_container_of_its_own_kind(channel: Channel, pod: SandboxRecord) -> None:
    """cAdvisor reads the network's figures of what has this label, and ``ctr`` tells pods from containers by it."""
    stub = ContainersStub(channel)
    found = (await stub.get(GetContainerRequest(id=POD), metadata=IN_K8S)).container
    assert found.labels == {"io.kubernetes.pod.name": "web", "io.cri-containerd.kind": "sandbox"}
    assert found.created_at == from_unix_ns(3_000_000_000)
    spec = json.loads(found.spec.value)
    assert spec["process"] is not None
    assert spec["linux"]["namespaces"] == [{"type": "network", "path": "/run/netns"}]
    listed = await stub.list(
        ListContainersRequest(filters=['labels."io.cri-containerd.kind"==sandbox']), metadata=IN_K8S
    )
    assert [c.id for c in listed.containers] == [POD]
    with pytest.raises(GRPCError) as caught:
        await stub.get(GetContainerRequest(id=POD[:12]), metadata=IN_K8S)
    assert caught.value.status is Status.NOT_FOUND, "full ids alone"


async def test_a_process_stands_for_a_pod(channel: Channel, here: Any, pod: SandboxRecord) -> None:
    stub = tasks.TasksStub(channel)
    with pytest.raises(GRPCError) as caught:
        await stub.get(tasks.GetRequest(container_id=POD), metadata=IN_K8S)
    assert caught.value.status is Status.NOT_FOUND, "nothing runs in it"
    here.pods.processes[POD] = 77
    process = (await stub.get(tasks.GetRequest(container_id=POD), metadata=IN_K8S)).process
    assert (process.id, process.pid, process.status) == (POD, 77, TaskStatus.RUNNING)
    with pytest.raises(GRPCError) as caught:
        await stub.kill(tasks.KillRequest(container_id=POD, signal=9), metadata=IN_K8S)
    assert caught.value.status is Status.NOT_FOUND, "it is a container's, and that is asked for"
