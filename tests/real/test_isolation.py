"""Neither side sees nor touches what the other made, shown over the real clients."""

import json
import time
from collections.abc import Awaitable, Callable

import pytest
from grpclib import GRPCError, Status

from sharedrt.pb.runtime import v1 as pb
from sharedrt.pb.runtime.v1 import (
    ContainerStatusRequest,
    ImageSpec,
    ImageStatusRequest,
    ListContainersRequest,
    ListContainerStatsRequest,
    ListImagesRequest,
    PodSandboxStatusRequest,
    RemoveImageRequest,
    StopContainerRequest,
)
from tests.real.clients import IMAGE, CriClient, DockerClient
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def both_running(cri: CriClient, docker: DockerClient, name: str) -> tuple[str, str, str]:
    """A pod with a container and a Docker container, all of the same name."""
    config = cri.pod_config(name)
    pod = await cri.run_pod(config)
    inner = await cri.create(pod, config, name, ["sleep", "600"])
    await cri.start(inner)
    status, created = await docker.post(
        "/containers/create", json={"Image": "busybox", "Cmd": ["sleep", "600"]}, name=name
    )
    assert status == 201, created
    status, reply = await docker.post(f"/containers/{created['Id']}/start")
    assert status == 204, reply
    return pod, inner, created["Id"]


async def test_the_main_job_and_the_same_names(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    pod, inner, outer = await both_running(cri, docker, "twin")
    seen_cri = (await cri.runtime.list_containers(ListContainersRequest())).containers
    assert {c.id for c in seen_cri} == {inner}
    _, seen_docker = await docker.get("/containers/json", all="1")
    assert {c["Id"] for c in seen_docker} == {outer}
    everything = json.loads((await daemon.cli("--json", "containers")).stdout)
    assert {(c["namespace"], c["id"]) for c in everything} == {("k8s.io", inner), ("moby", outer)}
    listed = await daemon.ctr("-n", "k8s.io", "containers", "ls", "-q")
    assert outer not in listed.stdout
    assert inner in listed.stdout
    await docker.delete(f"/containers/{outer}", force="1")
    status = await cri.status(inner)
    assert status.id == inner, "removing Docker's twin touched nothing of the pod's"
    await cri.remove_pod(pod)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/containers/{}/json"),
        ("GET", "/containers/{}/logs?stdout=1"),
        ("GET", "/containers/{}/top"),
        ("GET", "/containers/{}/stats?stream=0"),
        ("POST", "/containers/{}/start"),
        ("POST", "/containers/{}/stop"),
        ("POST", "/containers/{}/restart"),
        ("POST", "/containers/{}/kill"),
        ("POST", "/containers/{}/pause"),
        ("POST", "/containers/{}/unpause"),
        ("POST", "/containers/{}/wait"),
        ("POST", "/containers/{}/rename?name=other"),
        ("POST", "/containers/{}/resize?h=1&w=1"),
        ("POST", "/containers/{}/attach?stream=1&stdout=1"),
        ("DELETE", "/containers/{}?force=1"),
    ],
)
async def test_docker_answers_a_pods_id_as_one_that_never_was(
    cri: CriClient, docker: DockerClient, method: str, path: str
) -> None:
    config = cri.pod_config("hidden")
    pod = await cri.run_pod(config)
    inner = await cri.create(pod, config, "hidden", ["sleep", "600"])
    await cri.start(inner)
    unknown = "f" * 64
    for shown, absent in ((inner, unknown), (inner[:12], unknown[:12]), ("hidden", "absent")):
        answers = []
        for id in (shown, absent):
            status, body = await docker.call(method, path.format(id))
            answers.append((status, json.dumps(body).replace(id, "ID")))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert (await cri.status(inner)).id == inner
    await cri.remove_pod(pod)


async def test_docker_exec_does_not_reach_a_pod(cri: CriClient, docker: DockerClient) -> None:
    config = cri.pod_config("noexec")
    pod = await cri.run_pod(config)
    inner = await cri.create(pod, config, "noexec", ["sleep", "600"])
    await cri.start(inner)
    status, body = await docker.post(f"/containers/{inner}/exec", json={"Cmd": ["true"]})
    assert (status, body["message"]) == (404, f"No such container: {inner}")
    await cri.remove_pod(pod)


async def test_cri_answers_a_docker_id_as_one_that_never_was(
    cri: CriClient, docker: DockerClient
) -> None:
    _, created = await docker.post(
        "/containers/create", json={"Image": "busybox", "Cmd": ["sleep", "600"]}, name="foreign"
    )
    id, unknown = created["Id"], "f" * 64
    await docker.post(f"/containers/{id}/start")
    answers = []
    for asked in (id, unknown):
        with pytest.raises(GRPCError) as caught:
            await cri.runtime.container_status(ContainerStatusRequest(container_id=asked))
        answers.append((caught.value.status, (caught.value.message or "").replace(asked, "ID")))
        with pytest.raises(GRPCError) as caught:
            await cri.runtime.pod_sandbox_status(PodSandboxStatusRequest(pod_sandbox_id=asked))
        answers.append((caught.value.status, (caught.value.message or "").replace(asked, "ID")))
        with pytest.raises(GRPCError) as caught:
            await cri.exec_sync(asked, "true")
        answers.append((caught.value.status, (caught.value.message or "").replace(asked, "ID")))
    assert answers[:3] == answers[3:]
    assert {status for status, _ in answers} == {Status.NOT_FOUND}
    # Stopping what is not there is success for CRI, and must stop nothing of Docker's.
    await cri.runtime.stop_container(StopContainerRequest(container_id=id))
    _, inspected = await docker.get(f"/containers/{id}/json")
    assert inspected["State"]["Running"] is True
    stats = (await cri.runtime.list_container_stats(ListContainerStatsRequest())).stats
    assert id not in {s.attributes.id for s in stats}
    await docker.delete(f"/containers/{id}", force="1")


async def test_no_call_of_cri_reaches_docker_by_id_short_id_or_name(
    cri: CriClient, docker: DockerClient
) -> None:
    """Each answers as for an object that never was; and the container does not notice."""
    _, created = await docker.post(
        "/containers/create",
        json={"Image": "busybox", "Cmd": ["sleep", "600"]},
        name="out-of-reach",
    )
    id, runtime = created["Id"], cri.runtime
    await docker.post(f"/containers/{id}/start")
    before = (await docker.get(f"/containers/{id}/json"))[1]["State"]
    calls: dict[str, Callable[[str], Awaitable[object]]] = {
        "status": lambda i: runtime.container_status(ContainerStatusRequest(container_id=i)),
        "start": lambda i: runtime.start_container(pb.StartContainerRequest(container_id=i)),
        "stop": lambda i: runtime.stop_container(StopContainerRequest(container_id=i)),
        "remove": lambda i: runtime.remove_container(pb.RemoveContainerRequest(container_id=i)),
        "exec": lambda i: runtime.exec(pb.ExecRequest(container_id=i, cmd=["true"], stdout=True)),
        "exec sync": lambda i: cri.exec_sync(i, "true"),
        "attach": lambda i: runtime.attach(pb.AttachRequest(container_id=i, stdout=True)),
        "stats": lambda i: runtime.container_stats(pb.ContainerStatsRequest(container_id=i)),
        "log": lambda i: runtime.reopen_container_log(pb.ReopenContainerLogRequest(container_id=i)),
        "update": lambda i: runtime.update_container_resources(
            pb.UpdateContainerResourcesRequest(container_id=i)
        ),
        "checkpoint": lambda i: runtime.checkpoint_container(
            pb.CheckpointContainerRequest(container_id=i, location="/tmp/never.tar")
        ),
        "port forward": lambda i: runtime.port_forward(
            pb.PortForwardRequest(pod_sandbox_id=i, port=[80])
        ),
        "list": lambda i: runtime.list_containers(
            ListContainersRequest(filter=pb.ContainerFilter(id=i))
        ),
        "list stats": lambda i: runtime.list_container_stats(
            ListContainerStatsRequest(filter=pb.ContainerStatsFilter(id=i))
        ),
    }

    async def answer(call: Callable[[str], Awaitable[object]], ref: str) -> str:
        try:
            return str(await call(ref))
        except GRPCError as error:
            return f"{error.status} {error.message}".replace(ref, "ID")

    for name, call in calls.items():
        for shown, absent in ((id, "f" * 64), (id[:12], "f" * 12), ("out-of-reach", "never-was")):
            assert await answer(call, shown) == await answer(call, absent), name
    assert (await docker.get(f"/containers/{id}/json"))[1]["State"] == before
    await docker.delete(f"/containers/{id}", force="1")


async def test_tags_and_removal_of_images_stay_on_their_side(
    cri: CriClient, docker: DockerClient
) -> None:
    status, _ = await docker.post("/images/busybox/tag", repo="only/docker", tag="v1")
    assert status == 201
    names = {
        tag
        for image in (await cri.images.list_images(ListImagesRequest())).images
        for tag in image.repo_tags
    }
    assert names == {IMAGE}
    reply = await cri.images.image_status(
        ImageStatusRequest(image=ImageSpec(image="docker.io/only/docker:v1"))
    )
    assert not reply.image.id
    await cri.images.remove_image(
        RemoveImageRequest(image=ImageSpec(image="docker.io/only/docker:v1"))
    )
    status, inspected = await docker.get("/images/only/docker:v1/json")
    assert status == 200, inspected
    await docker.delete("/images/only/docker:v1")
    status, _ = await docker.get("/images/busybox/json")
    assert status == 200


async def test_events_and_prune_stay_on_their_side(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    pod, inner, outer = await both_running(cri, docker, "events")
    until = str(int(time.time()) + 1)
    done = await daemon.docker("events", "--since", "1", "--until", until, "--format", "{{.ID}}")
    assert outer in done.stdout
    assert inner not in done.stdout
    assert pod not in done.stdout
    await cri.runtime.stop_container(StopContainerRequest(container_id=inner))
    await docker.post(f"/containers/{outer}/stop", t="0")
    status, pruned = await docker.post("/containers/prune")
    assert status == 200, pruned
    assert pruned["ContainersDeleted"] == [outer]
    assert (await cri.status(inner)).id == inner
    await cri.remove_pod(pod)
