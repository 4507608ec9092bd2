"""What lives on, what is found out later, and what is cleaned up, when the daemon dies."""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from grpclib import GRPCError
from grpclib.exceptions import StreamTerminatedError

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.owned import listed, unowned
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

TICKING = "trap 'exit 7' TERM; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.1; done"
BROKEN = (OSError, aiohttp.ClientError, GRPCError, StreamTerminatedError)


async def down(daemon: DaemonUnderTest, how: str) -> None:
    if how == "kill -9":
        await daemon.kill9()
    else:
        assert await daemon.stop() == 0


async def run(docker: DockerClient, *command: str, name: str = "", **fields: Any) -> str:
    """A started Docker container's id."""
    body = {"Image": "busybox", "Cmd": list(command), **fields}
    query = {"name": name} if name else {}
    status, created = await docker.post("/containers/create", json=body, **query)
    assert status == 201, created
    status, answer = await docker.post(f"/containers/{created['Id']}/start")
    assert status == 204, answer
    return str(created["Id"])


async def state(docker: DockerClient, id: str) -> dict[str, Any]:
    status, body = await docker.get(f"/containers/{id}/json")
    assert status == 200, body
    return dict(body["State"], RestartCount=body["RestartCount"])


async def forget(docker: DockerClient, *ids: str) -> None:
    for id in ids:
        await docker.delete(f"/containers/{id}", force="1")


async def nothing_unowned(daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient) -> None:
    """Soon: an end is told of before its clean-up is over."""
    left: list[str] = []

    async def clean() -> bool:
        left[:] = unowned(daemon, await listed(cri, docker))
        return not left

    with contextlib.suppress(AssertionError):
        await until(clean, 5)
    assert not left, "\n".join(left)


def read(path: str) -> str:
    return Path(path).read_text()


def ticks(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"tick (\d+)", text)]


@pytest.mark.parametrize("how", ["stop", "kill -9"])
async def test_containers_live_on_and_are_adopted(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient, how: str
) -> None:
    outer = await run(docker, "sh", "-c", TICKING, HostConfig={"PortBindings": {}})
    cat = await run(docker, "cat", OpenStdin=True, StdinOnce=True)
    config = cri.pod_config("lives")
    pod = await cri.run_pod(config)
    inner = await cri.create(pod, config, "ticks", ["sh", "-c", TICKING])
    await cri.start(inner)
    before = await state(docker, outer)
    address = (
        await cri.runtime.pod_sandbox_status(pb.PodSandboxStatusRequest(pod_sandbox_id=pod))
    ).status.network.ip

    await down(daemon, how)
    await asyncio.sleep(0.5)
    await daemon.start()

    after = await state(docker, outer)
    assert after["Running"] is True
    assert (after["Pid"], after["StartedAt"]) == (before["Pid"], before["StartedAt"])
    status = await cri.status(inner)
    assert status.state is pb.ContainerState.CONTAINER_RUNNING
    sandbox = await cri.runtime.pod_sandbox_status(pb.PodSandboxStatusRequest(pod_sandbox_id=pod))
    assert sandbox.status.state is pb.PodSandboxState.SANDBOX_READY
    assert sandbox.status.network.ip == address

    assert (await daemon.docker("exec", outer, "echo", "in")).stdout == "in\n"
    assert (await cri.exec_sync(inner, "echo", "in")).stdout == b"in\n"
    attached = await daemon.docker(
        "attach", "--sig-proxy=false", cat, stdin=b"hello\n", check=False
    )
    assert attached.stdout == "hello\n"

    async def logged_on() -> bool:
        seen = ticks((await daemon.docker("logs", outer)).stdout)
        assert seen == list(range(len(seen))), "not a line is missing"
        return len(seen) > 10

    await until(logged_on)
    await daemon.docker("stop", "-t", "5", outer)
    await cri.runtime.stop_container(pb.StopContainerRequest(container_id=inner, timeout=5))
    assert (await state(docker, outer))["ExitCode"] == 7
    status = await cri.status(inner)
    assert status.exit_code == 7
    seen = ticks(read(status.log_path))
    assert seen == list(range(len(seen)))
    await cri.remove_pod(pod)
    await forget(docker, outer, cat)
    await nothing_unowned(daemon, cri, docker)


@pytest.mark.parametrize("how", ["stop", "kill -9"])
async def test_ends_that_were_missed_are_known_at_once(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient, how: str
) -> None:
    script = "sleep 1.5; echo bye; exit 5"
    outer = await run(docker, "sh", "-c", script)
    removed = await run(docker, "sleep", "1.5", HostConfig={"AutoRemove": True})
    config = cri.pod_config("missed")
    pod = await cri.run_pod(config)
    inner = await cri.create(pod, config, "missed", ["sh", "-c", script])
    await cri.start(inner)
    await down(daemon, how)
    went_ns = time.time_ns()
    await asyncio.sleep(2.5)
    back_ns = time.time_ns()
    await daemon.start()

    found = await state(docker, outer)
    assert (found["Status"], found["ExitCode"], found["Pid"]) == ("exited", 5, 0)
    assert (await daemon.docker("logs", outer)).stdout == "bye\n"
    status = await cri.status(inner)
    assert status.state is pb.ContainerState.CONTAINER_EXITED
    assert (status.exit_code, status.reason) == (5, "Error")
    assert went_ns < status.finished_at < back_ns
    assert "bye" in read(status.log_path)

    async def gone() -> bool:
        return (await docker.get(f"/containers/{removed}/json"))[0] == 404

    await until(gone)
    await nothing_unowned(daemon, cri, docker)
    await cri.remove_pod(pod)
    await forget(docker, outer)


async def test_restart_policies_across_a_crash(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    def policy(name: str, retries: int = 0) -> dict[str, Any]:
        return {"RestartPolicy": {"Name": name, "MaximumRetryCount": retries}}

    kept = await run(docker, "sleep", "600", HostConfig=policy("always"))
    short = ["sh", "-c", "[ -e /second ] && exec sleep 600; touch /second; sleep 1.5; exit 3"]
    ended = await run(docker, *short, HostConfig=policy("always"))
    failed = await run(docker, *short, HostConfig=policy("on-failure", 3))
    stopped = await run(docker, "sleep", "600", HostConfig=policy("unless-stopped"))
    always_stopped = await run(docker, "sleep", "600", HostConfig=policy("always"))
    for id in (stopped, always_stopped):
        await docker.post(f"/containers/{id}/stop", t="0")
    pid = (await state(docker, kept))["Pid"]
    await daemon.kill9()
    await asyncio.sleep(2)
    await daemon.start()
    assert (await state(docker, kept))["Pid"] == pid

    async def all_run() -> bool:
        states = [await state(docker, id) for id in (ended, failed, always_stopped)]
        return all(s["Status"] == "running" for s in states)

    await until(all_run)
    assert (await state(docker, failed))["RestartCount"] == 1
    assert (await state(docker, stopped))["Status"] == "exited"
    # A stop holds off the policy for good.
    await docker.post(f"/containers/{ended}/stop", t="0")
    await asyncio.sleep(0.5)
    assert (await state(docker, ended))["Status"] == "exited"
    await forget(docker, kept, ended, failed, stopped, always_stopped)


async def test_killed_conmon_is_an_end_with_137(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    outer = await run(docker, "sleep", "600")
    config = cri.pod_config("conmonless")
    pod = await cri.run_pod(config)
    inner = await cri.create(pod, config, "conmonless", ["sleep", "600"])
    await cri.start(inner)
    for namespace, id in (("moby", outer), ("k8s.io", inner)):
        pid = int((daemon.root / f"run/oci/bundles/{namespace}/{id}/conmon.pid").read_text())
        os.kill(pid, signal.SIGKILL)
    status, answer = await docker.post(f"/containers/{outer}/wait")
    assert (status, answer["StatusCode"]) == (200, 137)

    async def ended() -> bool:
        return (await cri.status(inner)).state is pb.ContainerState.CONTAINER_EXITED

    await until(ended)
    assert (await cri.status(inner)).exit_code == 137
    await nothing_unowned(daemon, cri, docker)
    await cri.remove_pod(pod)
    await forget(docker, outer)


async def test_conmon_killed_while_the_daemon_is_down(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    outer = await run(docker, "sleep", "600")
    pid = int((daemon.root / f"run/oci/bundles/moby/{outer}/conmon.pid").read_text())
    inside = (await state(docker, outer))["Pid"]
    await daemon.kill9()
    os.kill(pid, signal.SIGKILL)
    os.kill(inside, signal.SIGKILL)
    await daemon.start()
    found = await state(docker, outer)
    assert (found["Status"], found["ExitCode"]) == ("exited", 137)
    await forget(docker, outer)
    await nothing_unowned(daemon, cri, docker)


class Traffic:
    """Clients at work while the daemon is killed; what was acknowledged to them must be there afterwards."""

    def __init__(self, cri: CriClient, docker: DockerClient) -> None:
        self._cri, self._docker = cri, docker
        self.pods: dict[str, pb.PodSandboxConfig] = {}
        self.started: set[str] = set()
        self.created: set[str] = set()

    async def pod(self, number: int) -> None:
        config = self._cri.pod_config(f"inflight-{number}")
        pod = await self._cri.run_pod(config)
        self.pods[pod] = config
        id = await self._cri.create(pod, config, "inner", ["sleep", "600"])
        self.created.add(id)
        await self._cri.start(id)
        self.started.add(id)

    async def container(self, number: int) -> None:
        fields = {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": ""}]}}}
        body = {"Image": "busybox", "Cmd": ["sleep", "600"], **fields}
        status, created = await self._docker.post("/containers/create", json=body)
        if status != 201:
            return
        self.created.add(created["Id"])
        status, _ = await self._docker.post(f"/containers/{created['Id']}/start")
        if status == 204:
            self.started.add(created["Id"])

    async def keep_busy(self) -> None:
        async def work(task: Callable[[int], Awaitable[None]]) -> None:
            with contextlib.suppress(*BROKEN):
                for number in range(50):
                    await task(number)

        async with asyncio.TaskGroup() as group:
            for task in (self.pod, self.container, self.container):
                group.create_task(work(task))


@pytest.mark.timeout(600)
async def test_killed_in_the_middle_of_everything(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    rounds = int(os.environ.get("SHAREDRT_CRASH_ROUNDS", "6"))
    dice = random.Random(os.environ.get("SHAREDRT_CRASH_SEED", "2"))
    for turn in range(rounds):
        traffic = Traffic(cri, docker)
        delay_s = dice.uniform(0.02, 0.9)
        async with asyncio.TaskGroup() as group:
            group.create_task(traffic.keep_busy())
            await asyncio.sleep(delay_s)
            await daemon.kill9()
        await daemon.start()
        owners = await listed(cri, docker)
        told = f"round {turn}, killed after {delay_s:.3f} s\n"
        assert traffic.pods.keys() <= owners.sandboxes, told
        assert traffic.created <= owners.containers, told
        assert traffic.started <= owners.running, told
        assert traffic.pods.keys() <= owners.running, told
        assert not (left := unowned(daemon, owners)), told + "\n".join(left) + daemon.log()
        for pod in owners.sandboxes:
            await cri.remove_pod(pod)
        await forget(docker, *owners.containers)
        owners = await listed(cri, docker)
        assert not owners.all
        assert not unowned(daemon, owners), told


async def test_stopped_in_the_middle_of_everything(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    traffic = Traffic(cri, docker)
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic.keep_busy())
        await asyncio.sleep(0.4)
        assert await daemon.stop() == 0
    assert "Traceback" not in daemon.log()
    await daemon.start()
    owners = await listed(cri, docker)
    assert traffic.created <= owners.containers
    assert traffic.started <= owners.running
    assert not (left := unowned(daemon, owners)), "\n".join(left)
    for pod in owners.sandboxes:
        await cri.remove_pod(pod)
    await forget(docker, *owners.containers)


async def test_another_boot(daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient) -> None:
    """As after a power cut: the database speaks of another boot, and no process is there any more."""
    outer = await run(docker, "sleep", "600")
    again = await run(docker, "sleep", "600", HostConfig={"RestartPolicy": {"Name": "always"}})
    config = cri.pod_config("rebooted")
    pod = await cri.run_pod(config)
    inner = await cri.create(pod, config, "rebooted", ["sleep", "600"])
    await cri.start(inner)
    pids = [int(p.read_text()) for p in (daemon.root / "run/oci/bundles").glob("*/*/conmon.pid")]
    pids += [(await state(docker, id))["Pid"] for id in (outer, again)]
    await daemon.kill9()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    with contextlib.closing(sqlite3.connect(daemon.root / "state/sharedrt.db")) as database:
        other = {"boot_id": "00000000-0000-0000-0000-000000000000"}
        for table in ("containers", "sandboxes"):
            change_records(database, table, other)
        database.commit()
    await daemon.start()

    found = await state(docker, outer)
    assert (found["Status"], found["ExitCode"]) == ("exited", 255)
    status = await cri.status(inner)
    assert (status.exit_code, status.reason) == (255, "Unknown")
    assert status.state is pb.ContainerState.CONTAINER_EXITED
    sandbox = await cri.runtime.pod_sandbox_status(pb.PodSandboxStatusRequest(pod_sandbox_id=pod))
    assert sandbox.status.state is pb.PodSandboxState.SANDBOX_NOTREADY

    async def runs_again() -> bool:
        return bool((await state(docker, again))["Status"] == "running")

    await until(runs_again)

    async def torn_down() -> bool:
        return not list((daemon.root / "run/files/k8s.io/sandboxes").glob("*"))

    await until(torn_down)
    await cri.remove_pod(pod)
    await forget(docker, outer, again)
    await nothing_unowned(daemon, cri, docker)


def change_records(database: sqlite3.Connection, table: str, fields: dict[str, str]) -> None:
    """Set fields in the JSON document of every row."""
    for name, value in fields.items():
        changed = database.execute(
            f"UPDATE {table} SET document = json_set(document, ?, ?)", (f"$.{name}", value)
        )
        assert changed.rowcount > 0


async def test_a_start_up_with_many_rows_is_quick(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    ids = []
    for _ in range(200):
        _, created = await docker.post(
            "/containers/create", json={"Image": "busybox", "Cmd": ["sleep", "600"]}
        )
        ids.append(created["Id"])
    await daemon.restart()
    ready = [json.loads(line) for line in daemon.log().splitlines() if '"ready"' in line]
    seconds = ready[-1]["seconds"]
    await forget(docker, *ids)
    assert seconds < 1.5
    print(f"ready after {seconds} s")
