"""A container's life through the API: waiting, restarting, signals, streams of all kinds, and what happened when."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def run(docker: DockerClient, name: str, *command: str, **body: Any) -> str:
    config = {"Image": "busybox", "Cmd": list(command), **body}
    status, made = await docker.post("/containers/create", json=config, name=name)
    assert status == 201, made
    status, answer = await docker.post(f"/containers/{name}/start")
    assert status == 204, answer
    return str(made["Id"])


async def inspect(docker: DockerClient, name: str) -> dict[str, Any]:
    status, found = await docker.get(f"/containers/{name}/json")
    assert status == 200, found
    return dict(found)


async def remove(docker: DockerClient, *names: str) -> None:
    for name in names:
        await docker.delete(f"/containers/{name}", force="1", v="1")


async def told(daemon: DaemonUnderTest, *filters: str) -> list[str]:
    chosen = [part for text in filters for part in ("-f", text)]
    done = await daemon.docker(
        *("events", "--since", "5m", "--until", f"{time.time():.9f}", *chosen),
        *("--format", "{{.Action}}"),
    )
    return done.stdout.split("\n")[:-1]


# ---------------------------------------------------------------- waiting


async def test_each_condition_of_wait(docker: DockerClient) -> None:
    await run(docker, "waited", "sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
    async with asyncio.TaskGroup() as group:
        ends = {
            condition: group.create_task(
                docker.post(
                    "/containers/waited/wait", **({"condition": condition} if condition else {})
                )
            )
            for condition in ("", "not-running", "next-exit", "removed")
        }
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in ends.values())
        await docker.post("/containers/waited/stop", t="5")
        done, waiting = await asyncio.wait(ends.values(), timeout=2)
        assert {ends["removed"]} == waiting
        assert [task.result()[1]["StatusCode"] for task in done] == [7, 7, 7]
        # Of one that does not run, one condition is met at once; another waits for the next run.
        assert (await docker.post("/containers/waited/wait"))[1]["StatusCode"] == 7
        following = group.create_task(docker.post("/containers/waited/wait", condition="next-exit"))
        await asyncio.sleep(0.2)
        assert not following.done()
        await docker.post("/containers/waited/start")
        await docker.post("/containers/waited/kill")
        assert (await following)[1]["StatusCode"] == 137
        await remove(docker, "waited")
        assert (await ends["removed"])[1]["StatusCode"] == 137
    assert (await docker.post("/containers/waited/wait"))[0] == 404


# ---------------------------------------------------------------- restarting


async def test_retries_are_counted_and_spread_and_the_policy_can_change(
    docker: DockerClient,
) -> None:
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    began = time.monotonic()
    await run(docker, "retried", "sh", "-c", "exit 3", HostConfig={"RestartPolicy": policy})
    changed = {"RestartPolicy": {**policy, "MaximumRetryCount": 4}}
    assert (await docker.post("/containers/retried/update", json=changed))[0] == 200
    states = set()
    async with asyncio.timeout(60):
        while (state := (await inspect(docker, "retried"))["State"])["Status"] != "exited":
            states.add(state["Status"])
            await asyncio.sleep(0.01)
    found = await inspect(docker, "retried")
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (4, 3)
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4 + 0.8
    assert "restarting" in states
    await remove(docker, "retried")


async def test_a_network_joined_over_several_containers(daemon: DaemonUnderTest) -> None:
    sleep = ("busybox", "sleep", "60")
    await daemon.docker("run", "-d", "--name", "owner", "--hostname", "owned", *sleep)
    await daemon.docker("run", "-d", "--name", "guest", "--network", "container:owner", *sleep)
    try:
        joined = ("--rm", "--network", "container:guest", "busybox", "cat", "/etc/hosts")
        assert "owned" in (await daemon.docker("run", *joined)).stdout
    finally:
        await daemon.docker("rm", "-f", "guest", "owner")


async def test_policies_over_a_crash(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    always = {"RestartPolicy": {"Name": "always"}}
    await run(docker, "live", "sleep", "300", HostConfig=always)
    await run(
        docker, "stopped", "sleep", "300", HostConfig={"RestartPolicy": {"Name": "unless-stopped"}}
    )
    await docker.post("/containers/stopped/stop", t="0")
    await run(docker, "gone", "sleep", "2", HostConfig={"AutoRemove": True})
    pid = (await inspect(docker, "live"))["State"]["Pid"]
    await daemon.kill9()
    await asyncio.sleep(2.2)
    await daemon.start()
    assert (await inspect(docker, "live"))["State"]["Pid"] == pid
    assert (await inspect(docker, "stopped"))["State"]["Status"] == "exited"
    async with asyncio.timeout(60):
        while (await docker.get("/containers/gone/json"))[0] != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await docker.post("/containers/live/kill", signal="INT")  # sleep does not care as pid 1
    await docker.post("/containers/live/kill", signal="9")
    assert (await inspect(docker, "live"))["State"]["Status"] == "exited"
    actions = await told(daemon, "container=live")
    assert actions[-3:] == ["kill", "kill", "die"], "what was told before the crash, and after"
    assert "create" in actions
    await remove(docker, "live", "stopped")


# ---------------------------------------------------------------- options


async def test_shared_memory_is_shared_with_who_may(docker: DockerClient) -> None:
    for mode in ("shareable", "private"):
        await run(
            docker, "donor", "sh", "-c", "echo x >/dev/shm/f; sleep 60",
            HostConfig={"IpcMode": mode, "ShmSize": 1 << 20},
        )  # fmt: skip
        config = {
            "Image": "busybox",
            "Cmd": ["sh", "-c", "sleep 0.3; cat /dev/shm/f"],
            "HostConfig": {"IpcMode": "container:donor"},
        }
        assert (await docker.post("/containers/create", json=config, name="guest"))[0] == 201
        status, answer = await docker.post("/containers/guest/start")
        if mode == "shareable":
            assert (await docker.post("/containers/guest/wait"))[1]["StatusCode"] == 0
        else:
            assert status == 409
            assert "non-shareable IPC" in answer["message"]
        await remove(docker, "guest", "donor")
    await run(docker, "none", "sh", "-c", "test ! -e /dev/shm", HostConfig={"IpcMode": "none"})
    assert (await docker.post("/containers/none/wait"))[1]["StatusCode"] == 0
    await remove(docker, "none")


async def test_links_names_and_variables(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await run(docker, "db", "sleep", "60", Env=["KEY=v"], ExposedPorts={"80/tcp": {}})
    address = (await inspect(docker, "db"))["NetworkSettings"]["IPAddress"]
    script = "grep mysql /etc/hosts; env; sleep 60"
    await run(docker, "app", "sh", "-c", script, HostConfig={"Links": ["db:mysql"]})
    await asyncio.sleep(0.3)
    output = (await daemon.docker("logs", "app")).stdout
    for line in (
        f"{address}\tmysql",
        "MYSQL_NAME=/app/mysql",
        f"MYSQL_PORT_80_TCP=tcp://{address}:80",
        "MYSQL_ENV_KEY=v",
    ):
        assert line in output
    await docker.post("/containers/db/rename", name="database")
    found = await inspect(docker, "app")
    assert found["HostConfig"]["Links"] == ["/database:/app/mysql"]
    assert (await inspect(docker, "app/mysql"))["Name"] == "/database"
    _, listed = await docker.get("/containers/json", filters='{"name":["database"]}')
    assert listed[0]["Names"] == ["/database", "/app/mysql"]
    assert (await docker.delete("/containers/app/mysql", link="1"))[0] == 204
    assert (await docker.get("/containers/app/mysql/json"))[0] == 404
    await remove(docker, "app", "database")


async def test_limits_change_while_it_runs(docker: DockerClient) -> None:
    v2 = (await docker.get("/info"))[1]["CgroupVersion"] == "2"
    await run(docker, "limited", "sleep", "60", HostConfig={"PidsLimit": 40})

    async def inside(v1_file: str, v2_file: str) -> str:
        file = f"/sys/fs/cgroup/{v2_file if v2 else v1_file}"
        return await execute(docker, "limited", "cat", file)

    async def update(**figures: Any) -> None:
        status, answer = await docker.post("/containers/limited/update", json=figures)
        assert status == 200, answer

    assert await inside("pids/pids.max", "pids.max") == "40"
    await update(PidsLimit=0, CpuQuota=20_000)
    assert await inside("pids/pids.max", "pids.max") == "max"
    assert (await inside("cpu/cpu.cfs_quota_us", "cpu.max")).split()[0] == "20000"
    await update(CpuQuota=-1)
    assert (await inside("cpu/cpu.cfs_quota_us", "cpu.max")).split()[0] in ("-1", "max")
    await update(Memory=64 << 20, MemorySwap=128 << 20)
    assert await inside("memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
    status, answer = await docker.post("/containers/limited/update", json={"Memory": 256 << 20})
    assert status == 409
    assert "memoryswap" in answer["message"]
    status, answer = await docker.post("/containers/limited/update", json={"CpusetCpus": "4000"})
    assert status == 400
    assert "not available" in answer["message"]
    host = (await inspect(docker, "limited"))["HostConfig"]
    assert (host["PidsLimit"], host["CpuQuota"], host["Memory"]) == (0, -1, 64 << 20)
    await remove(docker, "limited")


async def test_sizes_are_what_is_in_the_files(docker: DockerClient) -> None:
    await run(docker, "fresh", "true")
    await run(docker, "wrote", "sh", "-c", "head -c 5000 /dev/zero >/file")
    await docker.post("/containers/wrote/wait")
    _, listed = await docker.get("/containers/json", all="1", size="1")
    sizes = {c["Names"][0]: c["SizeRw"] for c in listed}
    assert (sizes["/fresh"], sizes["/wrote"]) == (0, 5000)
    _, pruned = await docker.post("/containers/prune")
    assert pruned["SpaceReclaimed"] == 5000
    assert len(pruned["ContainersDeleted"]) == 2


# ---------------------------------------------------------------- streams


async def execute(docker: DockerClient, name: str, *command: str, **options: Any) -> str:
    """Output of an exec through a terminal, so without frames."""
    body = {"Cmd": list(command), "AttachStdout": True, "Tty": True, **options}
    status, made = await docker.post(f"/containers/{name}/exec", json=body)
    assert status == 201, made
    url = f"http://docker/{docker.version}/exec/{made['Id']}/start"
    async with docker.session.post(url, json={"Tty": True}) as response:
        return (await response.read()).decode().strip().replace("\r\n", "\n")


async def test_terminals_begin_with_the_size_asked_for(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    size = {"Tty": True, "HostConfig": {"ConsoleSize": [57, 123]}}
    await run(docker, "sized", "sh", "-c", "stty size; sleep 60", **size)
    await asyncio.sleep(0.3)
    assert (await daemon.docker("logs", "sized")).stdout.strip() == "57 123"
    for _ in range(5):
        # The first that the process does.
        assert await execute(docker, "sized", "stty", "size", ConsoleSize=[33, 99]) == "33 99"
    await remove(docker, "sized")


@asynccontextmanager
async def upgraded(
    daemon: DaemonUnderTest, target: str
) -> AsyncIterator[tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A POST with ``Upgrade: tcp``: the answer's head, and the streams behind it."""
    reader, writer = await asyncio.open_unix_connection(str(daemon.socket("docker")))
    writer.write(
        f"POST {target} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
    )
    try:
        async with asyncio.timeout(60):
            yield await reader.readuntil(b"\r\n\r\n"), reader, writer
    finally:
        writer.close()


async def test_attach_by_upgrade_with_a_half_closed_input(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    config = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
    body = {"Image": "busybox", "Cmd": ["sh", "-c", "cat; echo end >&2"], **config}
    await docker.post("/containers/create", json=body, name="piped")
    target = "/v1.44/containers/piped/attach?stream=1&stdin=1&stdout=1&stderr=1"
    async with upgraded(daemon, target) as (head, reader, writer):
        assert head.startswith(b"HTTP/1.1 101 UPGRADED")
        assert b"application/vnd.docker.multiplexed-stream" in head
        await docker.post("/containers/piped/start")
        writer.write(b"typed\n")
        assert await reader.readexactly(14) == b"\x01\0\0\0\0\0\0\x06typed\n"
        writer.write_eof()
        assert await reader.read() == b"\x02\0\0\0\0\0\0\x04end\n"
    await remove(docker, "piped")


async def test_attach_by_websocket(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await run(docker, "ws", "cat", Tty=True, OpenStdin=True)
    connector = aiohttp.UnixConnector(str(daemon.socket("docker")))
    url = "http://docker/v1.44/containers/ws/attach/ws?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x"
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(url) as client,
        asyncio.timeout(60),
    ):
        await client.send_bytes(b"hello\n")
        got = b""
        while got.count(b"hello") < 2:
            message = await client.receive()
            assert message.type is aiohttp.WSMsgType.BINARY
            got += message.data
        await client.send_bytes(b"\x18")
        while (message := await client.receive()).type is aiohttp.WSMsgType.BINARY:
            pass
        assert message.type is aiohttp.WSMsgType.CLOSE
    assert (await inspect(docker, "ws"))["State"]["Running"]
    assert (await told(daemon, "container=ws"))[-2:] == ["attach", "detach"]
    await remove(docker, "ws")


async def test_a_reader_that_stops_costs_the_others_nothing(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    script = "yes 0123456789012345678901234567890123456789 | head -n 400000; echo done"
    await run(docker, "big", "sh", "-c", script)
    stuck = []
    for path in ("logs?follow=1&stdout=1", "attach?stream=1&stdout=1", "stats"):
        client = socket.socket(socket.AF_UNIX)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(str(daemon.socket("docker")))
        method = "POST" if path.startswith("attach") else "GET"
        client.sendall(
            f"{method} /v1.44/containers/big/{path} HTTP/1.1\r\nHost: d\r\n\r\n".encode()
        )
        stuck.append(client)
    async with asyncio.timeout(30):
        assert (await docker.post("/containers/big/wait"))[1]["StatusCode"] == 0
    done = await daemon.docker("logs", "--tail", "1", "big")
    assert done.stdout == "done\n"
    began = time.monotonic()
    await docker.get("/_ping")
    assert time.monotonic() - began < 1
    for client in stuck:
        client.close()
    await remove(docker, "big")


async def test_stats_are_of_the_networks_that_it_is_on(docker: DockerClient) -> None:
    """As dockerd's: nothing of the host's interfaces; of another container's, when it is in that one's network."""
    host = {"NetworkMode": "bridge"}
    owner = await run(docker, "owner", "sleep", "600", HostConfig=host)
    for mode, names in ((f"container:{owner}", {"eth0"}), ("host", None), ("none", None)):
        other = await run(docker, "other", "sleep", "600", HostConfig={"NetworkMode": mode})
        _, text = await docker.get(f"/containers/{other}/stats", **{"stream": "0", "one-shot": "1"})
        stats = text if isinstance(text, dict) else json.loads(text)
        networks = stats.get("networks")
        assert (networks and set(networks)) == names, mode
        await docker.delete(f"/containers/{other}", force="1")
    await docker.delete(f"/containers/{owner}", force="1")


async def test_stats_from_which_clients_compute(docker: DockerClient) -> None:
    await run(docker, "busy", "sh", "-c", "while :; do :; done", HostConfig={"Memory": 64 << 20})
    _, text = await docker.get("/containers/busy/stats", stream="0")
    stats = text if isinstance(text, dict) else json.loads(text)
    cpu, before = stats["cpu_stats"], stats["precpu_stats"]
    used = cpu["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = cpu["system_cpu_usage"] - before["system_cpu_usage"]
    percent = used / passed * cpu["online_cpus"] * 100
    assert 5 < percent < 150, "one busy loop, on a machine that has others to serve"
    assert stats["memory_stats"]["limit"] == 64 << 20
    assert 0 < stats["memory_stats"]["usage"] < 64 << 20
    assert stats["pids_stats"]["current"] == 1
    assert "eth0" in stats["networks"]
    _, text = await docker.get("/containers/busy/stats", **{"stream": "0", "one-shot": "1"})
    once = text if isinstance(text, dict) else json.loads(text)
    assert once["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    await remove(docker, "busy")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/containers/xx/kill?signal=SIG42", None, 400, "nvalid signal: SIG42"),
        ("POST", "/containers/xx/resize?h=a&w=1", None, 400, 'invalid resize height "a"'),
        ("POST", "/containers/xx/rename?name=_", None, 400, "Error when allocating new name"),
        ("POST", "/containers/xx/attach?detachKeys=odd", None, 400, "Invalid detach keys"),
        ("POST", "/containers/xx/exec", "{invalid json", 400, "invalid character 'i'"),
        ("POST", "/containers/xx/exec", "{} more", 400, "unexpected content after JSON"),
        ("DELETE", "/containers/xx?link=1", None, 409, "default link name"),
        ("GET", "/containers/xx/archive?path=/no", None, 404, "in container xx"),
    ],
)
async def test_refusals(
    docker: DockerClient, method: str, path: str, body: str | None, status: int, words: str
) -> None:
    await run(docker, "xx", "sleep", "60")
    url = f"http://docker/v1.51{path}"
    headers = {"Content-Type": "application/json"}
    try:
        async with docker.session.request(method, url, data=body, headers=headers) as response:
            assert response.status == status
            assert words in (await response.json())["message"]
    finally:
        await remove(docker, "xx")
