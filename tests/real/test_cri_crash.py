"""The daemon is killed, stopped, restarted; callers give up. Pods and containers are as they should be after it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from grpclib import GRPCError
from grpclib.exceptions import StreamTerminatedError

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, cri_client
from tests.real.daemon import DaemonUnderTest
from tests.real.streaming_clients import spdy, websocket
from tests.real.test_cri import PRIVATE_PID, ended, read, secured
from tests.real.test_streaming import exec_url, open_streams, received
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@asynccontextmanager
async def client(daemon: DaemonUnderTest) -> AsyncIterator[CriClient]:
    """A new connection: the one before went with the daemon."""
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as cri:
        yield cri


def private_pod(cri: CriClient, name: str) -> pb.PodSandboxConfig:
    context = pb.LinuxSandboxSecurityContext(namespace_options=PRIVATE_PID)
    return cri.pod_config(name, linux=pb.LinuxPodSandboxConfig(security_context=context))


async def pid_of(cri: CriClient, id: str) -> int:
    request = pb.ContainerStatusRequest(container_id=id, verbose=True)
    info = (await cri.runtime.container_status(request)).info["info"]
    return int(json.loads(info)["pid"])


@pytest.mark.parametrize("kill", [True, False])
async def test_containers_live_on(daemon: DaemonUnderTest, kill: bool) -> None:
    async with client(daemon) as cri:
        config = private_pod(cri, f"liveson{kill}")
        pod = await cri.run_pod(config)
        script = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done"
        container = await cri.create(pod, config, "main", ["sh", "-c", script], linux=secured())
        await cri.start(container)
        pid = await pid_of(cri, container)
    if kill:
        await daemon.kill9()
    else:
        await daemon.stop()
    await asyncio.sleep(0.3)
    await daemon.start()
    async with client(daemon) as cri:
        status = await cri.status(container)
        assert status.state == pb.ContainerState.CONTAINER_RUNNING
        assert await pid_of(cri, container) == pid
        assert (await cri.exec_sync(container, "echo", "back")).stdout == b"back\n"
        lines = [line.split(" ", 3)[3] for line in read(status.log_path).splitlines()]
        assert lines == [f"line {i}" for i in range(len(lines))], "no line is lost"
        sandbox = await cri.runtime.pod_sandbox_status(
            pb.PodSandboxStatusRequest(pod_sandbox_id=pod)
        )
        assert sandbox.status.state == pb.PodSandboxState.SANDBOX_READY
        assert await cri.run_pod(config) == pod
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=container))
        assert (await cri.status(container)).exit_code == 137
        await cri.remove_pod(pod)


async def test_an_end_while_the_daemon_is_down(daemon: DaemonUnderTest) -> None:
    async with client(daemon) as cri:
        config = private_pod(cri, "endsalone")
        pod = await cri.run_pod(config)
        command = ["sh", "-c", "sleep 0.5; echo last words; exit 9"]
        container = await cri.create(pod, config, "main", command, linux=secured())
        await cri.start(container)
    await daemon.kill9()
    await asyncio.sleep(1)
    await daemon.start()
    async with client(daemon) as cri:
        status = await ended(cri, container)
        assert (status.exit_code, status.reason) == (9, "Error")
        assert status.finished_at > status.started_at
        assert "last words" in read(status.log_path)
        await cri.remove_pod(pod)


async def test_execs_are_told_that_the_daemon_stops(daemon: DaemonUnderTest) -> None:
    """kubectl takes a connection that ends without a status for a success."""
    async with client(daemon) as cri:
        config = private_pod(cri, "told")
        pod = await cri.run_pod(config)
        container = await cri.create(pod, config, "main", ["sleep", "600"], linux=secured())
        await cri.start(container)
        first = await exec_url(cri, container, "sh", "-c", "echo up; sleep 600")
        second = await exec_url(cri, container, "sh", "-c", "echo up; sleep 600")
        async with spdy(first) as exec, websocket(second, "v5.channel.k8s.io") as connection:
            streams = await open_streams(exec, "stdout")
            await exec.wait_data(streams["stdout"], b"up")
            while b"up" not in (await connection.receive_bytes(timeout=10)):
                pass
            _, channels = await asyncio.gather(daemon.stop(), received(connection))
            (told,) = await exec.wait_end(streams["error"])
    for status in (told, channels[3]):
        assert json.loads(status)["status"] == "Failure"
        assert "stopping" in json.loads(status)["message"]
    await daemon.start()
    async with client(daemon) as cri:
        processes = (await cri.exec_sync(container, "ps")).stdout.decode()
        assert processes.count("sleep 600") == 1, "the execs ended with their clients"
        await cri.remove_pod(pod)


async def test_execs_end_with_a_daemon_that_is_killed(daemon: DaemonUnderTest) -> None:
    """Their clients have gone, and no probe's timeout would end them; the container runs on."""
    async with client(daemon) as cri:
        config = private_pod(cri, "lostexec")
        pod = await cri.run_pod(config)
        container = await cri.create(pod, config, "main", ["sleep", "600"], linux=secured())
        await cri.start(container)
        script = "sleep 700 & echo up; exec sleep 700"

        async def probe() -> None:
            with pytest.raises((GRPCError, OSError, StreamTerminatedError)):
                await cri.exec_sync(container, "sleep", "700", timeout_s=60)

        async with spdy(await exec_url(cri, container, "sh", "-c", script)) as exec:
            streams = await open_streams(exec, "stdout")
            await exec.wait_data(streams["stdout"], b"up")
            async with asyncio.TaskGroup() as group:
                group.create_task(probe())
                await until(lambda: _processes(cri, container, "sleep 700", 3))
                await daemon.kill9()
    await daemon.start()
    async with client(daemon) as cri:
        await until(lambda: _processes(cri, container, "sleep 700", 0))
        assert await _processes(cri, container, "sleep 600", 1)
        folder = daemon.root / "run" / "oci" / "bundles" / "k8s.io" / container / "execs"
        await until(lambda: not any(folder.iterdir()))
        await cri.remove_pod(pod)


async def _processes(cri: CriClient, container: str, text: str, count: int) -> bool:
    shown = (await cri.exec_sync(container, "ps")).stdout.decode()
    return shown.count(text) == count


@pytest.mark.parametrize("after_s", [0.01, 0.05, 0.2, 0.5])
async def test_killed_while_pods_are_made(daemon: DaemonUnderTest, after_s: float) -> None:
    async with client(daemon) as cri:
        configs = [private_pod(cri, f"burst{i}") for i in range(8)]

        async def make(config: pb.PodSandboxConfig) -> tuple[str, str]:
            pod = await cri.run_pod(config)
            container = await cri.create(pod, config, "main", ["sleep", "60"], linux=secured())
            await cri.start(container)
            return pod, container

        calls = asyncio.gather(*(make(config) for config in configs), return_exceptions=True)
        await asyncio.sleep(after_s)
        await daemon.kill9()
        made = [answer for answer in await calls if not isinstance(answer, BaseException)]
    await daemon.start()
    async with client(daemon) as cri:
        pods = (await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())).items
        assert {pod for pod, _ in made} <= {item.id for item in pods}, "what was answered is there"
        for _, container in made:
            status = await cri.status(container)
            assert status.state == pb.ContainerState.CONTAINER_RUNNING
        again = [await cri.run_pod(config) for config in configs]
        assert len(set(again)) == len(configs)
        for pod in {*again, *(item.id for item in pods)}:
            await cri.remove_pod(pod)
        left = (await cri.runtime.list_containers(pb.ListContainersRequest())).containers
        assert left == []


async def test_callers_that_give_up(daemon: DaemonUnderTest) -> None:
    """What they asked for is made once, or not at all, and a later call finds it."""
    async with client(daemon) as cri:
        config = private_pod(cri, "impatient")
        request = pb.RunPodSandboxRequest(config=config)
        for timeout_s in (0.001, 0.005, 0.02):
            try:
                await cri.runtime.run_pod_sandbox(request, timeout=timeout_s)
            except (GRPCError, TimeoutError, StreamTerminatedError):
                continue
        pod = await cri.run_pod(config)

        async def only_one() -> bool:
            items = (await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())).items
            return [item.id for item in items] == [pod]

        await until(only_one)
        container_config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name="main"),
            image=pb.ImageSpec(image="busybox"),
            command=["sleep", "60"],
            linux=secured(),
        )
        create = pb.CreateContainerRequest(pod_sandbox_id=pod, config=container_config)
        for timeout_s in (0.001, 0.003, 0.01):
            try:
                await cri.runtime.create_container(create, timeout=timeout_s)
            except (GRPCError, TimeoutError, StreamTerminatedError):
                continue
        container = (await cri.runtime.create_container(create)).container_id
        listed = (await cri.runtime.list_containers(pb.ListContainersRequest())).containers
        assert [one.id for one in listed] == [container]
        await cri.start(container)
        slow = pb.ExecSyncRequest(container_id=container, cmd=["sleep", "8883"])
        with pytest.raises((GRPCError, TimeoutError)):
            await cri.runtime.exec_sync(slow, timeout=0.3)

        async def gone() -> bool:
            return b"8883" not in (await cri.exec_sync(container, "ps")).stdout

        await until(gone)
        await cri.remove_pod(pod)
