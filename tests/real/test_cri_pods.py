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
from tests.real.test_cri import PRIVATE_PID, ended, output, pod, read, secured
from tests.real.test_cri_cni import network_of, serves
from tests.real.test_cri_streams import following
from tests.real.waiting import until

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
    own = daemon.root / "own-runc"
    own.write_text(f'#!/bin/sh\necho "$@" >> {daemon.root}/own.log\nexec runc "$@"\n')
    own.chmod(0o755)
    handlers = f'handlers = {{own = "{own}", '
    text = daemon.config_path.read_text()
    second = f'[network]\npod_second_subnet = "fd89:{daemon.number}::/64"'
    text = text.replace("[network]", second).replace("handlers = {", handlers)
    daemon.config_path.write_text(text)
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


async def test_shared_memory_of_a_pod(dual: ShortQueues) -> None:
    """Containers of one pod see each other's, those of another pod and the host's do not."""
    async with (
        client(dual) as cri,
        pod(cri, "shm") as (id, config),
        pod(cri, "alone") as (
            other,
            other_config,
        ),
    ):
        main = await cri.create(id, config, "main", ["sleep", "600"], linux=secured())
        await cri.start(main)
        await cri.exec_sync(main, "sh", "-c", "echo told > /dev/shm/word")
        assert await output(cri, id, config, ["cat", "/dev/shm/word"]) == "told\n"
        assert await output(cri, other, other_config, ["ls", "/dev/shm"]) == ""


# ---------------------------------------------------------------- handlers


async def test_a_handler_of_the_configuration_and_its_features(dual: ShortQueues) -> None:
    async with client(dual) as cri:
        reply = await cri.runtime.status(pb.StatusRequest())
        features = {handler.name: handler.features for handler in reply.runtime_handlers}
        assert set(features) == {"", "crun", "own", "runc"}
        default = features[""]
        assert all(found == default for found in features.values())
        async with pod(cri, "by-own", handler="own") as (id, config):
            request = pb.PodSandboxStatusRequest(pod_sandbox_id=id)
            status = (await cri.runtime.pod_sandbox_status(request)).status
            assert status.runtime_handler == "own"
            assert await output(cri, id, config, ["echo", "hi"]) == "hi\n"
            if default.recursive_read_only_mounts:
                mount = pb.Mount(
                    container_path="/vol",
                    host_path=str(dual.root),
                    readonly=True,
                    recursive_read_only=True,
                )
                script = "touch /vol/x 2>&1 || echo refused"
                text = await output(cri, id, config, ["sh", "-c", script], mounts=[mount])
                assert "refused" in text
            if default.user_namespaces:
                await _with_users(cri)
    calls = (dual.root / "own.log").read_text()
    assert " create " in calls
    assert " delete " in calls


async def _with_users(cri: CriClient) -> None:
    mapping = pb.IdMapping(container_id=0, host_id=800_000, length=65536)
    users = pb.UserNamespace(mode=pb.NamespaceMode.POD, uids=[mapping], gids=[mapping])
    options = pb.NamespaceOption(pid=pb.NamespaceMode.CONTAINER, userns_options=users)
    async with pod(cri, "mapped-own", handler="own", options=options) as (id, config):
        command = ["cat", "/proc/self/uid_map"]
        text = await output(cri, id, config, command, linux=secured(options))
        assert text.split() == ["0", "800000", "65536"]


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
        paths = read(f"/proc/{pid}/cgroup").split()
        assert any(f"{parent}/{first}" in path for path in paths), "where the kubelet wants it"
        request = pb.PodSandboxStatsRequest(pod_sandbox_id=id)
        stats = (await cri.runtime.pod_sandbox_stats(request)).stats.linux
        assert stats.network.default_interface.rx_bytes.value <= eth0_figures(pid)[0]
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


# ---------------------------------------------------------------- figures


def eth0_figures(pid: int) -> tuple[int, int]:
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "eth0":
            return int(figures.split()[0]), int(figures.split()[8])
    raise AssertionError("no eth0 seen from there")


async def test_figures_are_the_kernels(dual: ShortQueues) -> None:
    """Each figure lies between what the kernel said before and what it says after."""
    parent = f"/srt{dual.number}/kubepods/pod2"
    linux = pb.LinuxPodSandboxConfig(
        cgroup_parent=parent,
        security_context=pb.LinuxSandboxSecurityContext(namespace_options=PRIVATE_PID),
    )
    cgroups = CgroupManager("cgroupfs")
    async with client(dual) as cri, pod(cri, "figures", linux=linux) as (id, config):
        limits = pb.LinuxContainerResources(memory_limit_in_bytes=256 << 20)
        script = (
            "mkdir /w; head -c 1000000 /dev/zero > /w/big; httpd -p 80 -h /w;"
            " (head -c 40000000 /dev/zero; echo kept > /w/kept; sleep 600) | tail &"
            " while :; do :; done"
        )
        container = await cri.create(
            id, config, "main", ["sh", "-c", script], linux=secured(resources=limits)
        )
        await cri.start(container)
        address = (await network_of(cri, id)).ip

        async def kept() -> bool:
            return (await cri.exec_sync(container, "test", "-e", "/w/kept")).exit_code == 0

        await until(kept)
        async with pod(cri, "fetches") as (other, other_config):
            command = ["wget", "-q", "-O", "/dev/null", f"http://{address}/big"]
            await output(cri, other, other_config, command)
        pid = json.loads(
            (
                await cri.runtime.container_status(
                    pb.ContainerStatusRequest(container_id=container, verbose=True)
                )
            ).info["info"]
        )["pid"]
        path = f"{parent}/{container}"
        before, net_before = cgroups.stats(path), eth0_figures(pid)
        request = pb.PodSandboxStatsRequest(pod_sandbox_id=id)
        figures = (await cri.runtime.pod_sandbox_stats(request)).stats.linux
        after, net_after = cgroups.stats(path), eth0_figures(pid)
        (own,) = figures.containers
        used = own.cpu.usage_core_nano_seconds.value
        assert 0 < before.cpu.total_ns <= used <= after.cpu.total_ns
        assert used <= figures.cpu.usage_core_nano_seconds.value <= after.cpu.total_ns * 1.2
        memory = own.memory
        assert memory.rss_bytes.value >= 40_000_000
        assert 40_000_000 <= memory.working_set_bytes.value <= memory.usage_bytes.value
        assert memory.usage_bytes.value < 64 << 20
        assert memory.available_bytes.value == (256 << 20) - memory.working_set_bytes.value
        faults = memory.page_faults.value
        assert 40_000_000 / 4096 <= before.memory.page_faults <= faults <= after.memory.page_faults
        assert memory.major_page_faults.value <= after.memory.major_page_faults
        assert own.swap.swap_usage_bytes.value == after.memory.swap_usage_bytes
        assert own.writable_layer.used_bytes.value >= 1_000_000
        assert own.writable_layer.inodes_used.value >= 3  # /w and what is in it
        assert figures.process.process_count.value == before.pids_current
        interface = figures.network.default_interface
        assert interface.name == "eth0"
        assert net_before[0] <= interface.rx_bytes.value <= net_after[0]
        assert 1_000_000 <= net_before[1] <= interface.tx_bytes.value <= net_after[1]
        rates = await nano_cores(cri, container)
        assert 0 < rates <= 2_200_000_000
    cgroups.close()


async def test_the_images_file_system_holds_what_the_disk_does(dual: ShortQueues) -> None:
    """Of this daemon's only namespace that has images."""
    async with client(dual) as cri:
        reply = await cri.images.image_fs_info(pb.ImageFsInfoRequest())
    (images,) = reply.image_filesystems
    state = dual.root / "state"
    found = [state / "content", *(state / "snapshots").glob("layers*")]
    done = await dual.run("du", "-s", "-B1", *map(str, found))
    on_disk = sum(int(line.split()[0]) for line in done.stdout.splitlines())
    assert images.used_bytes.value == pytest.approx(on_disk, rel=0.1)
    assert images.inodes_used.value > 0
    assert state.is_relative_to(images.fs_id.mountpoint)
    assert reply.container_filesystems[0].fs_id == images.fs_id


async def nano_cores(cri: CriClient, container: str) -> int:
    """Between two looks, as the kernel's own figures of these times give it."""
    request = pb.ContainerStatsRequest(container_id=container)
    await asyncio.sleep(0.6)  # looks less than half a second apart are one to the daemon
    first = (await cri.runtime.container_stats(request)).stats.cpu
    await asyncio.sleep(1)
    second = (await cri.runtime.container_stats(request)).stats.cpu
    elapsed = (second.timestamp - first.timestamp) / 1e9
    used = second.usage_core_nano_seconds.value - first.usage_core_nano_seconds.value
    assert second.usage_nano_cores.value == pytest.approx(used / elapsed, rel=0.05)
    return second.usage_nano_cores.value


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
