"""Events, lists as streams, pods' stats and metrics, over a grpclib client and real pods."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sharedrt.pb.codec import is_present
from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient
from tests.real.daemon import DaemonUnderTest
from tests.real.test_cri import PRIVATE_PID, ended, pod, secured
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

Type = pb.ContainerEventType


@asynccontextmanager
async def following(cri: CriClient) -> AsyncIterator[list[pb.ContainerEventResponse]]:
    """The events since its start."""
    events: list[pb.ContainerEventResponse] = []

    async def follow() -> None:
        async for event in cri.runtime.get_container_events(pb.GetEventsRequest()):
            events.append(event)  # noqa: PERF401  seen as it comes

    async with asyncio.TaskGroup() as group:
        task = group.create_task(follow())
        probe = ""
        while not events:  # nothing else says that it is listened to
            probe = await cri.run_pod(_probe(cri))
            await cri.remove_pod(probe)
        last = (probe, Type.CONTAINER_DELETED_EVENT)
        await until(lambda: (events[-1].container_id, events[-1].container_event_type) == last)
        events.clear()
        yield events
        task.cancel()


def _probe(cri: CriClient) -> pb.PodSandboxConfig:
    options = pb.NamespaceOption(network=pb.NamespaceMode.NODE, pid=pb.NamespaceMode.CONTAINER)
    context = pb.LinuxSandboxSecurityContext(namespace_options=options)
    linux = pb.LinuxPodSandboxConfig(security_context=context)
    return cri.pod_config("probe", linux=linux, hostname="")


async def test_events_of_a_pods_life_in_order(cri: CriClient) -> None:
    async with following(cri) as events:
        async with pod(cri, "events") as (id, config):
            container = await cri.create(id, config, "main", ["true"], linux=secured())
            await cri.start(container)
            await ended(cri, container)
        last = (id, Type.CONTAINER_DELETED_EVENT)
        await until(
            lambda: events and (events[-1].container_id, events[-1].container_event_type) == last
        )
    mine = [e for e in events if e.pod_sandbox_status.id == id]
    for subject in (id, container):
        assert [e.container_event_type for e in mine if e.container_id == subject] == [
            Type.CONTAINER_CREATED_EVENT,
            Type.CONTAINER_STARTED_EVENT,
            Type.CONTAINER_STOPPED_EVENT,
            Type.CONTAINER_DELETED_EVENT,
        ]
    times = [event.created_at for event in mine]
    assert times == sorted(times)
    assert all(e.pod_sandbox_status.metadata == config.metadata for e in mine)
    started = next(e for e in mine if e.container_id == container and e.container_event_type == 1)
    assert [status.id for status in started.containers_statuses] == [container]
    for event in mine:
        if event.container_id == container:
            # Later than what is told of it may be, never earlier: the kubelet keeps it as the pod's status.
            states = [status.state for status in event.containers_statuses]
            assert not states or states[0] >= _LEAST[event.container_event_type], event
    sandbox = [e.pod_sandbox_status.state for e in mine if e.container_id == id]
    assert sandbox[-2:] == [pb.PodSandboxState.SANDBOX_NOTREADY] * 2


_LEAST = {
    Type.CONTAINER_CREATED_EVENT: pb.ContainerState.CONTAINER_CREATED,
    Type.CONTAINER_STARTED_EVENT: pb.ContainerState.CONTAINER_RUNNING,
    Type.CONTAINER_STOPPED_EVENT: pb.ContainerState.CONTAINER_EXITED,
    Type.CONTAINER_DELETED_EVENT: pb.ContainerState.CONTAINER_EXITED,
}


async def test_no_event_is_older_than_the_status_that_it_changes(cri: CriClient) -> None:
    """A kubelet that asks for a pod's status all the time drops events that are older than an answer."""
    async with following(cri) as events, pod(cri, "asked") as (id, config):
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=id)
        answers: list[pb.PodSandboxStatusResponse] = []

        async def ask() -> None:
            while True:
                answers.append(await cri.runtime.pod_sandbox_status(request))

        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(ask()) for _ in range(3)]
            for number in range(8):
                container = await cri.create(id, config, f"c{number}", ["true"], linux=secured())
                await cri.start(container)
                await ended(cri, container)
            for task in asking:
                task.cancel()
    stopped = {
        e.container_id: e.created_at
        for e in events
        if e.container_event_type == Type.CONTAINER_STOPPED_EVENT
    }
    for answer in answers:
        for status in answer.containers_statuses:
            if status.state < pb.ContainerState.CONTAINER_EXITED:
                assert answer.timestamp < stopped[status.id]


async def test_the_newest_attempt_comes_first(cri: CriClient) -> None:
    """A kubelet that follows events takes what it reads first for the last attempt, and numbers the next by it."""
    made: list[str] = []
    async with following(cri) as events, pod(cri, "attempts") as (id, config):
        for attempt in range(3):
            metadata = pb.ContainerMetadata(name="main", attempt=attempt)
            container = await cri.create(
                id, config, "main", ["true"], metadata=metadata, linux=secured()
            )
            made.insert(0, container)
            await cri.start(container)
            await ended(cri, container)
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=id)
        answer = await cri.runtime.pod_sandbox_status(request)
    assert [status.id for status in answer.containers_statuses] == made
    told = [[status.id for status in event.containers_statuses] for event in events]
    assert made in told
    assert all(seen == [id for id in made if id in seen] for seen in told)


async def test_two_follow_and_both_see_all(cri: CriClient) -> None:
    async with following(cri) as first, following(cri) as second:
        async with pod(cri, "both") as (id, _):
            pass

        def told(events: list[pb.ContainerEventResponse]) -> int:
            return sum(event.container_id == id for event in events)

        await until(lambda: told(first) == told(second) == 4)
    kinds = [
        [e.container_event_type for e in seen if e.container_id == id] for seen in (first, second)
    ]
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 4


async def test_streams_give_what_lists_give(cri: CriClient) -> None:
    async with pod(cri, "streamed", labels={"x": "1"}) as (id, config):
        ids = [
            await cri.create(id, config, f"c{i}", ["sleep", "60"], linux=secured())
            for i in range(3)
        ]
        await cri.start(ids[0])
        listed = (await cri.runtime.list_containers(pb.ListContainersRequest())).containers
        streamed = [
            container
            async for part in cri.runtime.stream_containers(pb.StreamContainersRequest())
            for container in part.containers
        ]
        assert streamed == listed
        assert {c.id for c in streamed} == set(ids)
        pods = [
            item
            async for part in cri.runtime.stream_pod_sandboxes(
                pb.StreamPodSandboxesRequest(filter=pb.PodSandboxFilter(label_selector={"x": "1"}))
            )
            for item in part.pod_sandboxes
        ]
        assert [item.id for item in pods] == [id]
        images = [
            image
            async for part in cri.images.stream_images(pb.StreamImagesRequest())
            for image in part.images
        ]
        assert images == (await cri.images.list_images(pb.ListImagesRequest())).images
        stats = [
            one
            async for part in cri.runtime.stream_container_stats(pb.StreamContainerStatsRequest())
            for one in part.container_stats
        ]
        assert [one.attributes.id for one in stats] == [ids[0]]
        pod_stats = [
            one
            async for part in cri.runtime.stream_pod_sandbox_stats(
                pb.StreamPodSandboxStatsRequest()
            )
            for one in part.pod_sandbox_stats
        ]
        assert [one.attributes.id for one in pod_stats] == [id]
        metrics = [
            one
            async for part in cri.runtime.stream_pod_sandbox_metrics(
                pb.StreamPodSandboxMetricsRequest()
            )
            for one in part.pod_sandbox_metrics
        ]
        assert [one.pod_sandbox_id for one in metrics] == [id]


async def test_pod_stats(daemon: DaemonUnderTest, cri: CriClient) -> None:
    parent = daemon.cgroup_parent("kubepods", "pod1")
    context = pb.LinuxSandboxSecurityContext(namespace_options=PRIVATE_PID)
    for cgroup_parent in ("", parent):
        linux = pb.LinuxPodSandboxConfig(security_context=context, cgroup_parent=cgroup_parent)
        async with pod(cri, "podstats", linux=linux) as (id, config):
            command = ["sh", "-c", "ping -c 2 127.0.0.1 >/dev/null; sleep 60 & while :; do :; done"]
            container = await cri.create(id, config, "main", command, linux=secured())
            await cri.start(container)
            request = pb.PodSandboxStatsRequest(pod_sandbox_id=id)
            await cri.runtime.pod_sandbox_stats(request)
            await asyncio.sleep(1.5)
            stats = (await cri.runtime.pod_sandbox_stats(request)).stats
            assert stats.attributes.metadata == config.metadata
            linux_stats = stats.linux
            assert [one.attributes.id for one in linux_stats.containers] == [container]
            own = linux_stats.containers[0]
            total = linux_stats.cpu.usage_core_nano_seconds.value
            assert total >= own.cpu.usage_core_nano_seconds.value * 0.9 > 0
            assert linux_stats.cpu.usage_nano_cores.value > 0
            assert linux_stats.memory.working_set_bytes.value > 0
            assert linux_stats.process.process_count.value >= 2
            assert linux_stats.network.default_interface.name == "eth0"
            resources = pb.LinuxContainerResources(cpu_shares=512)
            await cri.runtime.update_pod_sandbox_resources(
                pb.UpdatePodSandboxResourcesRequest(pod_sandbox_id=id, resources=resources)
            )


async def test_network_of_pods_without_a_process(cri: CriClient) -> None:
    """A kubelet reads the default interface of any network that it is told of, and dies where it is missing."""
    on_host = pb.NamespaceOption(
        network=pb.NamespaceMode.NODE, pid=pb.NamespaceMode.CONTAINER, ipc=PRIVATE_PID.ipc
    )
    async with pod(cri, "empty") as (empty, _), pod(cri, "onhost", options=on_host) as (host, _):
        stats = (await cri.runtime.list_pod_sandbox_stats(pb.ListPodSandboxStatsRequest())).stats
        networks = {one.attributes.id: one.linux.network for one in stats}
        assert networks[empty].default_interface.name == "eth0"
        assert not is_present(networks[host])


async def test_metrics_have_descriptors(daemon: DaemonUnderTest, cri: CriClient) -> None:
    reply = await cri.runtime.list_metric_descriptors(pb.ListMetricDescriptorsRequest())
    keys = {one.name: list(one.label_keys) for one in reply.descriptors}
    assert keys["container_cpu_usage_seconds_total"][:2] == ["container", "id"]
    async with pod(cri, "metrics") as (id, config):
        container = await cri.create(id, config, "main", ["sleep", "60"], linux=secured())
        await cri.start(container)
        request = pb.ListPodSandboxMetricsRequest()
        (metrics,) = (await cri.runtime.list_pod_sandbox_metrics(request)).pod_metrics
    assert metrics.pod_sandbox_id == id
    (of_container,) = metrics.container_metrics
    assert of_container.container_id == container
    for metric in (*metrics.metrics, *of_container.metrics):
        assert len(metric.label_values) == len(keys[metric.name])
        assert metric.timestamp > 0
    values = {metric.name: metric for metric in of_container.metrics}
    labels = dict(
        zip(keys["container_processes"], values["container_processes"].label_values, strict=True)
    )
    assert (labels["container"], labels["pod"], labels["namespace"]) == (
        "main",
        "metrics",
        "default",
    )
    assert values["container_processes"].value.value == 1
    assert values["container_memory_working_set_bytes"].value.value > 0
    # sleep has the three of a container without a terminal
    assert values["container_file_descriptors"].value.value == 3
    assert values["container_threads"].value.value == 1
    assert values["container_spec_cpu_shares"].value.value == 1024
    assert values["container_ulimits_soft"].label_values[-1] == "max_open_files"
    room = os.statvfs(daemon.root)
    assert values["container_fs_limit_bytes"].value.value == room.f_blocks * room.f_frsize
    assert values["container_fs_inodes_total"].value.value == room.f_files
    assert values["container_fs_limit_bytes"].label_values[-1].startswith("/dev/")
    assert values["container_start_time_seconds"].value.value > 1_700_000_000
    received = {metric.name for metric in metrics.metrics}
    assert "container_network_receive_bytes_total" in received
