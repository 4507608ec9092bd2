"""Pods on the built-in network of two families, as agents of the node see them, and followers that are slow."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Cardinality

from sharedrt.drivers.cgroups import CgroupManager
from sharedrt.pb.containerd.services.containers.v1 import ContainersStub, GetContainerRequest
from sharedrt.pb.containerd.services.tasks.v1 import GetRequest, TasksStub
from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, cri_client
from tests.real.daemon import DaemonUnderTest
from tests.real.leaks import look
from tests.real.registry import free_port
from tests.real.test_cri import PRIVATE_PID, ended, output, pod, secured, until
from tests.real.test_cri_cni import network_of, serves
from tests.real.test_cri_streams import following

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

IN_K8S = {"containerd-namespace": "k8s.io"}
LAG = 40
"""Events that followers of this daemon may be behind."""


class ShortQueues(DaemonUnderTest):
    """The daemon with a smaller bound, which takes a few pods to reach."""

    @property
    def _command(self) -> Sequence[str]:
        program = (
            "import sharedrt.services.events as events; from sharedrt.__main__ import main;"
            f" events.MAX_LAG = {LAG}; raise SystemExit(main())"
        )
        return (sys.executable, "-c", program, "--config", str(self.config_path))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dual(busybox_archive: Path) -> AsyncIterator[ShortQueues]:
    daemon = ShortQueues({"runtime": {"cgroup_driver": "cgroupfs"}})
    text = daemon.config_path.read_text()
    second = f'[network]\npod_second_subnet = "fd89:{daemon.number}::/64"'
    daemon.config_path.write_text(text.replace("[network]", second))
    try:
        await daemon.start()
        await daemon.cli("-n", "k8s.io", "images", "import", str(busybox_archive))
        yield daemon
    finally:
        await daemon.purge()
    n = daemon.number
    left = look((f"srt{n}", f"srp{n}", f"s{n}", daemon.root.name)).found()
    assert not left, f"left behind: {left}"


@asynccontextmanager
async def client(daemon: DaemonUnderTest) -> AsyncIterator[CriClient]:
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as made:
        yield made


# ---------------------------------------------------------------- two families


async def test_dual_stack_on_the_built_in_bridge(dual: ShortQueues) -> None:
    n, port = dual.number, free_port()
    dns = pb.DnsConfig(servers=["10.9.8.7", "fd00::53"], searches=["a.example"])
    async with client(dual) as cri:
        mapping = pb.PortMapping(host_port=port, container_port=80)
        async with pod(cri, "web", port_mappings=[mapping], dns_config=dns) as (id, config):
            status = await network_of(cri, id)
            assert status.ip.startswith(f"10.89.{n}.")
            (second,) = status.additional_ips
            assert second.ip.startswith(f"fd89:{n}::")
            script = "echo served > /index.html; httpd -f -p [::]:80 -h /"
            main = await cri.create(id, config, "main", ["sh", "-c", script], linux=secured())
            await cri.start(main)
            for url in (
                f"http://{status.ip}",
                f"http://[{second.ip}]",
                f"http://127.0.0.1:{port}",
                f"http://[::1]:{port}",
                f"http://10.89.{n}.1:{port}",
                f"http://[fd89:{n}::1]:{port}",
            ):

                async def answered(url: str = url) -> bool:
                    return await asyncio.to_thread(serves, url)

                await until(answered)
            routes = (await cri.exec_sync(main, "ip", "-6", "route")).stdout.decode()
            assert f"default via fd89:{n}::1 dev eth0" in routes
            routes = (await cri.exec_sync(main, "ip", "route")).stdout.decode()
            assert f"default via 10.89.{n}.1 dev eth0" in routes
            files = (
                await cri.exec_sync(main, "cat", "/etc/hosts", "/etc/resolv.conf")
            ).stdout.decode()
            assert f"{status.ip}\tweb" in files
            assert f"{second.ip}\tweb" in files
            assert "nameserver 10.9.8.7\nnameserver fd00::53\nsearch a.example" in files
            async with pod(cri, "other") as (other, other_config):
                for address in (status.ip, f"[{second.ip}]"):
                    command = ["wget", "-q", "-O", "-", f"http://{address}/index.html"]
                    assert await output(cri, other, other_config, command) == "served\n"


async def test_a_killed_daemon_knows_both_addresses(dual: ShortQueues) -> None:
    async with client(dual) as cri:
        id = await cri.run_pod(cri.pod_config("kept"))
        before = await network_of(cri, id)
        await dual.kill9()
    await dual.start()
    async with client(dual) as cri:
        assert await network_of(cri, id) == before
        async with pod(cri, "later") as (later, _):
            after = await network_of(cri, later)
            taken = {before.ip, *(other.ip for other in before.additional_ips)}
            assert not taken & {after.ip, *(other.ip for other in after.additional_ips)}
        await cri.remove_pod(id)


# ---------------------------------------------------------------- what a kubelet's cAdvisor looks for


def marks(cgroups: CgroupManager, parent: str, id: str) -> list[Path]:
    return [
        p for root in cgroups.hierarchies.roots() if (p := Path(f"{root}{parent}/{id}")).exists()
    ]


async def process_of(daemon: DaemonUnderTest, id: str) -> int:
    """As cAdvisor asks: first for a container, whose label says that it is a pod, then for its task."""
    async with Channel(path=str(daemon.socket("containerd"))) as channel:
        reply = await ContainersStub(channel).get(GetContainerRequest(id=id), metadata=IN_K8S)
        assert reply.container.labels["io.cri-containerd.kind"] == "sandbox"
        assert reply.container.labels["io.kubernetes.pod.name"] == "seen"
        assert json.loads(reply.container.spec.value)["process"] is not None
        task = await TasksStub(channel).get(GetRequest(container_id=id), metadata=IN_K8S)
        return task.process.pid


def received_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "eth0":
            return int(figures.split()[0])
    raise AssertionError("no eth0 seen from there")


async def test_a_pod_has_a_cgroup_and_a_process_that_sees_its_network(dual: ShortQueues) -> None:
    parent = f"/srt{dual.number}/kubepods/pod1"
    cgroups = CgroupManager("cgroupfs")
    await cgroups.ensure(parent)
    linux = pb.LinuxPodSandboxConfig(
        cgroup_parent=parent,
        security_context=pb.LinuxSandboxSecurityContext(namespace_options=PRIVATE_PID),
    )
    labels = {"io.kubernetes.pod.name": "seen"}
    async with client(dual) as cri:
        config = cri.pod_config("seen", linux=linux, labels=labels)
        id = await cri.run_pod(config)
        assert marks(cgroups, parent, id) == []
        first = await cri.create(id, config, "first", ["sleep", "600"], linux=secured())
        await cri.start(first)
        await until(lambda: marks(cgroups, parent, id))
        (mark,) = marks(cgroups, parent, id)
        (cgroup,) = {mark.stat().st_ino}
        pid = await process_of(dual, id)
        request = pb.PodSandboxStatsRequest(pod_sandbox_id=id)
        stats = (await cri.runtime.pod_sandbox_stats(request)).stats.linux
        assert stats.network.default_interface.rx_bytes.value <= received_bytes(pid)
        assert stats.process.process_count.value == 1, "the mark has no process"
        second = await cri.create(id, config, "second", ["sleep", "600"], linux=secured())
        await cri.start(second)
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=first))
        await until(
            lambda: [m.stat().st_ino for m in marks(cgroups, parent, id)] not in ([], [cgroup])
        )
        assert await process_of(dual, id) != pid
        (mark,) = marks(cgroups, parent, id)
        cgroup = mark.stat().st_ino
        await dual.kill9()
    await dual.start()
    async with client(dual) as cri:
        assert mark.stat().st_ino == cgroup, "right ones are left alone"
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=second))
        await until(lambda: not marks(cgroups, parent, id))
        third = await cri.create(id, config, "third", ["sleep", "600"], linux=secured())
        await cri.start(third)
        await until(lambda: marks(cgroups, parent, id))
        await cri.runtime.stop_pod_sandbox(pb.StopPodSandboxRequest(pod_sandbox_id=id))
        assert marks(cgroups, parent, id) == []
        await cri.remove_pod(id)
    assert await cgroups.remove(f"/srt{dual.number}/kubepods")
    cgroups.close()


async def test_resources_of_a_pod_are_the_kubelets_to_set(dual: ShortQueues) -> None:
    """It changes the pod's cgroup itself, and tells; containerd and CRI-O keep what they are told, too."""
    async with client(dual) as cri, pod(cri, "resized") as (id, _):
        update = pb.UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=id,
            overhead=pb.LinuxContainerResources(memory_limit_in_bytes=1 << 20),
            resources=pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_shares=512),
        )
        await cri.runtime.update_pod_sandbox_resources(update)
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=id, verbose=True)
        info = json.loads((await cri.runtime.pod_sandbox_status(request)).info["info"])
        assert info["resources"]["memory_bytes"] == 64 << 20
        assert info["resources"]["cpu_shares"] == 512
        assert info["overhead"]["memory_bytes"] == 1 << 20
        update.resources.cpu_period = -1
        with pytest.raises(GRPCError) as caught:
            await cri.runtime.update_pod_sandbox_resources(update)
        assert caught.value.status is Status.INVALID_ARGUMENT
        update = pb.UpdatePodSandboxResourcesRequest(pod_sandbox_id="f" * 64)
        with pytest.raises(GRPCError) as caught:
            await cri.runtime.update_pod_sandbox_resources(update)
        assert caught.value.status is Status.NOT_FOUND


# ---------------------------------------------------------------- events


async def test_no_event_is_lost_or_out_of_order_while_many_pods_come_and_go(
    dual: ShortQueues,
) -> None:
    async with client(dual) as cri, following(cri) as first, following(cri) as second:
        made: dict[str, str] = {}

        async def life(name: str) -> None:
            async with pod(cri, name) as (id, config):
                container = await cri.create(id, config, "main", ["true"], linux=secured())
                await cri.start(container)
                await ended(cri, container)
                made[id] = container

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(life(f"crowd{number}"))
        subjects = {*made, *made.values()}

        def told(events: list[pb.ContainerEventResponse]) -> int:
            return sum(event.container_id in subjects for event in events)

        await until(lambda: min(told(first), told(second)) >= 4 * len(subjects))
    Type = pb.ContainerEventType
    for seen in (first, second):
        for subject in subjects:
            assert [e.container_event_type for e in seen if e.container_id == subject] == [
                Type.CONTAINER_CREATED_EVENT,
                Type.CONTAINER_STARTED_EVENT,
                Type.CONTAINER_STOPPED_EVENT,
                Type.CONTAINER_DELETED_EVENT,
            ]
        times = [event.created_at for event in seen]
        assert times == sorted(times)
    order = [
        [(e.container_id, e.container_event_type) for e in seen if e.container_id in subjects]
        for seen in (first, second)
    ]
    assert order[0] == order[1]


async def test_a_follower_that_does_not_read_holds_nobody_up_and_is_ended(
    dual: ShortQueues,
) -> None:
    small = Configuration(http2_connection_window_size=65_535, http2_stream_window_size=65_535)
    async with (
        client(dual) as cri,
        following(cri) as all_events,
        Channel(path=str(dual.socket("cri")), config=small) as channel,
        pod(cri, "wordy", annotations={"long": "x" * 60_000}) as (id, config),
        channel.request(
            "/runtime.v1.RuntimeService/GetContainerEvents",
            Cardinality.UNARY_STREAM,
            pb.GetEventsRequest,
            pb.ContainerEventResponse,
        ) as stream,
    ):
        await stream.send_message(pb.GetEventsRequest(), end=True)

        async def come_and_go() -> None:
            container = await cri.create(id, config, "main", ["true"], linux=secured())
            await cri.runtime.remove_container(pb.RemoveContainerRequest(container_id=container))

        async def told() -> Any:
            return await stream.recv_message()

        async with asyncio.TaskGroup() as group:
            telling = group.create_task(told())
            while not telling.done():  # until it follows
                await come_and_go()
        first = telling.result()
        for _ in range(LAG):  # two events each, and hardly more than one fits into the stream
            await come_and_go()
        seen = [first]
        while (event := await stream.recv_message()) is not None:
            seen.append(event)
        with pytest.raises(GRPCError) as caught:
            await stream.recv_trailing_metadata()
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert len(seen) < 2 * LAG
        await until(lambda: len(all_events) >= 2 * LAG)

        def names(events: list[pb.ContainerEventResponse]) -> list[tuple[str, int]]:
            return [(e.container_id, int(e.container_event_type)) for e in events]

        everything = names(all_events)
        start = everything.index(names(seen)[0])
        assert everything[start : start + len(seen)] == names(seen), "all until then, in order"
