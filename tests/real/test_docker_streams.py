"""Attach, exec, logs and events as byte streams: each way to ask for them, each option, and how they end."""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sharedrt.wire.docker_stream import StreamDecoder
from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

STAMP = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
RAW, FRAMES = b"vnd.docker.raw-stream", b"vnd.docker.multiplexed-stream"


@asynccontextmanager
async def hijacked(
    daemon: DaemonUnderTest, target: str, body: Any = None, *, upgrade: bool = False
) -> AsyncIterator[tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A POST after which both sides send what they like: the answer's head, and the streams."""
    reader, writer = await asyncio.open_unix_connection(str(daemon.socket("docker")))
    data = b"" if body is None else json.dumps(body).encode()
    head = f"POST {target} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(data)}\r\n"
    if body is not None:
        head += "Content-Type: application/json\r\n"
    if upgrade:
        head += "Connection: Upgrade\r\nUpgrade: tcp\r\n"
    writer.write(f"{head}\r\n".encode() + data)
    try:
        async with asyncio.timeout(30):
            yield await reader.readuntil(b"\r\n\r\n"), reader, writer
    finally:
        writer.close()


def streams(data: bytes) -> dict[int, bytes]:
    """What each stream brought, out of Docker's frames."""
    decoder = StreamDecoder()
    found: dict[int, bytearray] = {}
    for frame in decoder.receive_data(data):
        found.setdefault(frame.stream, bytearray()).extend(frame.payload)
    decoder.receive_eof()
    return {stream: bytes(whole) for stream, whole in found.items()}


async def create(docker: DockerClient, name: str, *command: str, **body: Any) -> str:
    config = {"Image": "busybox", "Cmd": list(command), **body}
    status, made = await docker.post("/containers/create", json=config, name=name)
    assert status == 201, made
    return str(made["Id"])


async def start(docker: DockerClient, name: str) -> None:
    status, answer = await docker.post(f"/containers/{name}/start")
    assert status == 204, answer


async def until_running_ends(docker: DockerClient, name: str) -> int:
    async with asyncio.timeout(30):
        return int((await docker.post(f"/containers/{name}/wait"))[1]["StatusCode"])


async def exit_code(docker: DockerClient, exec_id: str) -> Any:
    return (await docker.get(f"/exec/{exec_id}/json"))[1]["ExitCode"]


async def remove(docker: DockerClient, *names: str) -> None:
    for name in names:
        await docker.delete(f"/containers/{name}", force="1", v="1")


# ---------------------------------------------------------------- attach


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize("tty", [False, True])
async def test_attach_by_hijack_and_upgrade(
    daemon: DaemonUnderTest, docker: DockerClient, tty: bool, upgrade: bool
) -> None:
    """Frames without a terminal, plain bytes with one; the head says which, and whether it was an upgrade."""
    script = "read line; echo out $line; echo err >&2"
    stdin = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True, "Tty": tty}
    await create(docker, "att", "sh", "-c", script, **stdin)
    target = "/v1.51/containers/att/attach?stream=1&stdin=1&stdout=1&stderr=1"
    async with hijacked(daemon, target, upgrade=upgrade) as (head, reader, writer):
        assert head.startswith(b"HTTP/1.1 101 UPGRADED" if upgrade else b"HTTP/1.1 200 OK")
        assert (RAW if tty else FRAMES) in head
        await start(docker, "att")
        writer.write(b"typed\n")
        data = await reader.read()
    if tty:
        assert data == b"typed\r\nout typed\r\nerr\r\n"
    else:
        assert streams(data) == {1: b"out typed\n", 2: b"err\n"}
    await remove(docker, "att")


async def test_attach_to_some_streams_and_to_what_was(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    await create(docker, "some", "sh", "-c", "echo o; echo e >&2; sleep 600")
    await start(docker, "some")

    async def said() -> bool:
        found = await logs(docker, "some", stdout="1", stderr="1")
        return set(streams(found)) == {1, 2}

    await until(said)
    for query, found in (
        ("logs=1&stdout=1&stderr=1", {1: b"o\n", 2: b"e\n"}),
        ("logs=1&stderr=1", {2: b"e\n"}),
    ):
        async with hijacked(daemon, f"/v1.51/containers/some/attach?{query}") as (_, reader, _):
            assert streams(await reader.read()) == found
    # A WebSocket has no frames.
    connector = aiohttp.UnixConnector(str(daemon.socket("docker")))
    url = "http://docker/v1.51/containers/some/attach/ws?logs=1&stdout=1"
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(url) as client,
        asyncio.timeout(60),
    ):
        assert await client.receive_bytes() == b"o\n"
    status, answer = await docker.get("/containers/some/attach/ws")
    assert (status, answer["message"]) == (400, "not websocket protocol")
    await remove(docker, "some")


async def test_detach_keys_of_ones_own(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    """For attach in the request, for exec when it is created; both live on."""
    await create(docker, "keys", "cat", Tty=True, OpenStdin=True)
    await start(docker, "keys")
    target = "/v1.51/containers/keys/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,x"
    async with hijacked(daemon, target) as (_, reader, writer):
        writer.write(b"\x01y")  # only the first of them: it goes to the process with what follows
        assert await reader.readuntil(b"y") == b"^Ay"
        writer.write(b"\x01x")
        assert await reader.read() == b""
    request = {
        "Cmd": ["cat"],
        "Tty": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "DetachKeys": "ctrl-b,b",
    }
    _, made = await docker.post("/containers/keys/exec", json=request)
    async with hijacked(daemon, f"/v1.51/exec/{made['Id']}/start", {"Tty": True}) as streams_:
        _, reader, writer = streams_
        writer.write(b"k\r")
        await reader.readuntil(b"k\r\nk")
        writer.write(b"\x02b")
        await reader.read()
    assert (await docker.get(f"/exec/{made['Id']}/json"))[1]["Running"]
    assert (await docker.get("/containers/keys/json"))[1]["State"]["Running"]
    out = await daemon.docker(
        "events", "--since", "5m", "--until", f"{time.time():.6f}", "-f", "container=keys",
        "--format", "{{.Action}}",
    )  # fmt: skip
    actions = out.stdout.splitlines()
    assert actions.index("detach") < actions.index("exec_detach")
    status, answer = await docker.post("/containers/keys/attach?detachKeys=ctrl-%C3%A9")
    assert (status, "Invalid detach keys" in answer["message"]) == (400, True)
    await remove(docker, "keys")


async def test_clients_that_go_away_while_attached(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    """The others, and the process, do not feel it."""
    script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.005; done"
    await create(docker, "left", "sh", "-c", script)
    target = "/v1.51/containers/left/attach?stream=1&stdout=1"
    async with hijacked(daemon, target) as (_, reader, _):
        others = [await asyncio.open_unix_connection(str(daemon.socket("docker"))) for _ in "12"]
        for _, writer in others:
            writer.write(f"POST {target} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        for stream, _ in others:
            await stream.readuntil(b"\r\n\r\n")
        await start(docker, "left")
        for stream, writer in others:
            await stream.readexactly(10)
            writer.transport.abort()
        data = await reader.read()
    assert streams(data)[1].split() == [b"%d" % n for n in range(1, 301)]
    assert await until_running_ends(docker, "left") == 0
    await remove(docker, "left")


# ---------------------------------------------------------------- exec


async def test_exec_with_every_option(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await create(docker, "box", "sleep", "600", Env=["BASE=1"])
    await start(docker, "box")
    caps = "grep CapEff /proc/self/status | cut -f2"
    plain = (await daemon.docker("exec", "box", "sh", "-c", caps)).stdout
    request = {
        "Cmd": ["sh", "-c", f"echo $BASE $ADD $(id -u):$(id -g) $PWD; {caps} >&2; cat; exit 9"],
        "User": "1:2",
        "Env": ["ADD=two"],
        "WorkingDir": "/tmp",
        "Privileged": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
    }
    _, made = await docker.post("/containers/box/exec", json=request)
    url = f"/exec/{made['Id']}"
    before = (await docker.get(f"{url}/json"))[1]
    assert (before["Running"], before["ExitCode"], before["Pid"]) == (False, None, 0)
    assert before["ProcessConfig"]["user"] == "1:2"
    assert before["ProcessConfig"]["privileged"] is True
    async with hijacked(daemon, f"/v1.51{url}/start", {}) as (head, reader, writer):
        assert FRAMES in head
        got = await reader.readexactly(8)
        got += await reader.readexactly(int.from_bytes(got[4:8], "big"))
        running = (await docker.get(f"{url}/json"))[1]
        assert running["Running"] is True
        # The pid is the host's.
        command = await asyncio.to_thread(Path(f"/proc/{running['Pid']}/cmdline").read_bytes)
        assert command.startswith(b"sh\0-c\0")
        assert (await docker.post(f"{url}/start", json={}))[0] == 409
        writer.write(b"input")
        writer.write_eof()
        got += await reader.read()
    out = streams(got)
    assert out[1] == b"1 two 1:2 /tmp\ninput"
    assert int(out[2], 16) == 0, "not root: no capability is effective, privileged or not"
    after = (await docker.get(f"{url}/json"))[1]
    assert (after["Running"], after["ExitCode"]) == (False, 9)
    assert after["ContainerID"] == (await docker.get("/containers/box/json"))[1]["Id"]
    root = (await daemon.docker("exec", "--privileged", "box", "sh", "-c", caps)).stdout
    assert int(root, 16) > int(plain, 16)
    status, answer = await docker.post(f"{url}/start", json={})
    assert (status, "has already run" in answer["message"]) == (409, True)

    # Detached: answered at once, its end seen by inspect.
    _, made = await docker.post("/containers/box/exec", json={"Cmd": ["sh", "-c", "exit 4"]})
    assert (await docker.post(f"/exec/{made['Id']}/start", json={"Detach": True}))[0] == 200
    detached = made["Id"]

    async def ended() -> bool:
        return await exit_code(docker, detached) is not None

    await until(ended)
    assert await exit_code(docker, detached) == 4

    # A terminal is resized while it runs.
    request = {"Cmd": ["sh"], "Tty": True, "AttachStdin": True, "AttachStdout": True}
    _, made = await docker.post("/containers/box/exec", json=request)
    async with hijacked(daemon, f"/v1.51/exec/{made['Id']}/start", {"Tty": True}) as streams_:
        head, reader, writer = streams_
        assert RAW in head
        await reader.readuntil(b"# ")
        assert (await docker.post(f"/exec/{made['Id']}/resize", h="44", w="111"))[0] == 200
        writer.write(b"stty size; exit 3\r")
        assert b"44 111" in await reader.read()
    assert (await docker.get(f"/exec/{made['Id']}/json"))[1]["ExitCode"] == 3
    status, answer = await docker.post(f"/exec/{made['Id']}/resize", h="1", w="1")
    assert (status, "is not running" in answer["message"]) == (409, True)
    await remove(docker, "box")
    assert (await docker.get(f"/exec/{made['Id']}/json"))[0] == 404


# ---------------------------------------------------------------- logs


async def logs(docker: DockerClient, name: str, **query: str) -> bytes:
    url = f"http://docker/v1.51/containers/{name}/logs"
    async with docker.session.get(url, params=query) as response:
        assert response.status == 200, await response.text()
        return await response.read()


async def test_logs_with_each_option(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    script = "for i in 1 2 3 4; do echo o$i; sleep 0.2; echo e$i >&2; sleep 0.2; done"
    await create(docker, "told", "sh", "-c", script)
    await start(docker, "told")
    both = {"stdout": "1", "stderr": "1"}
    # A follower from the start has all of it, and its answer ends with the container.
    followed = streams(await logs(docker, "told", follow="1", **both))
    assert followed == {1: b"o1\no2\no3\no4\n", 2: b"e1\ne2\ne3\ne4\n"}
    assert streams(await logs(docker, "told", **both)) == followed
    assert streams(await logs(docker, "told", stdout="1")) == {1: followed[1]}
    assert streams(await logs(docker, "told", stderr="1")) == {2: followed[2]}
    stamped = streams(await logs(docker, "told", timestamps="1", **both))
    # On a busy machine conmon may find what two streams brought at one time, and in any order.
    times = {
        line.split()[1]: line.split()[0]
        for data in stamped.values()
        for line in data.decode().splitlines()
    }
    assert all(STAMP.fullmatch(found) for found in times.values())

    async def chosen(*options: str) -> tuple[list[str], list[str]]:
        done = await daemon.docker("logs", *options, "told")
        return done.stdout.split(), done.stderr.split()

    def within(first: str, last: str) -> tuple[list[str], list[str]]:
        found = [name for name in times if times[first] <= times[name] <= times[last]]
        return [n for n in found if n[0] == "o"], [n for n in found if n[0] == "e"]

    oldest, newest = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
    assert await chosen("--since", times["o3"]) == within("o3", newest)
    assert await chosen("--until", times["o3"]) == within(oldest, "o3")
    assert await chosen("--since", times["o2"], "--until", times["o3"]) == within("o2", "o3")
    assert "o1" not in within("o2", "o3")[0]
    for tail, count in (("0", 0), ("1", 1), ("3", 3), ("99", 8)):
        found = streams(await logs(docker, "told", tail=tail, **both))
        assert sum(data.count(b"\n") for data in found.values()) == count
        if count == 1:
            (last,) = b"".join(found.values()).decode().split()
            assert times[last] == times[newest]
    assert streams(await logs(docker, "told", tail="all", **both)) == followed
    # Go's durations too, and nothing from the future.
    assert (await daemon.docker("logs", "--since", "1h", "told")).stdout.split()[0] == "o1"
    future = f"{time.time() + 100:.0f}"
    assert await logs(docker, "told", since=future, **both) == b""
    status, answer = await docker.get("/containers/told/logs")
    assert (status, answer["message"]) == (
        400,
        "Bad parameters: you must choose at least one stream",
    )
    await remove(docker, "told")


async def test_a_follower_until_a_moment_and_one_that_leaves(docker: DockerClient) -> None:
    await create(docker, "long", "sh", "-c", "while :; do echo x; sleep 0.05; done")
    await start(docker, "long")
    began = time.time()
    data = await logs(docker, "long", follow="1", stdout="1", until=f"{began + 1:.3f}")
    assert streams(data)[1].count(b"x\n") >= 5
    url = "http://docker/v1.51/containers/long/logs?follow=1&stdout=1"
    async with docker.session.get(url) as response:
        await response.content.readexactly(10)
        response.close()
    assert (await docker.get("/containers/long/json"))[1]["State"]["Running"]
    await remove(docker, "long")


async def test_what_a_terminal_and_a_non_blocking_writer_logged(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    await create(docker, "tty", "sh", "-c", "echo a; echo b >&2", Tty=True)
    await start(docker, "tty")
    await until_running_ends(docker, "tty")
    assert await logs(docker, "tty", stdout="1") == b"a\r\nb\r\n"
    options = ("--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=1m")
    await daemon.docker("run", "--name", "nb", *options, "busybox", "seq", "1", "20000")
    found = (await daemon.docker("logs", "nb")).stdout.split()
    assert found == [str(n) for n in range(1, 20001)]
    await remove(docker, "tty", "nb")


async def test_logs_are_read_fast(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    """40 MB of 100-byte lines a second: of the daemon's CPU, since a busy machine has less to give."""
    lines = 200_000
    line = "x" * 99
    await create(docker, "fast", "sh", "-c", f"yes {line} | head -n {lines}")
    await start(docker, "fast")
    assert await until_running_ends(docker, "fast") == 0
    assert daemon.process is not None
    rates: list[float] = []
    data = b""
    while (
        len(rates) < 5 and max(rates, default=0.0) <= 40
    ):  # neighbours take their share of the caches
        before = cpu_s(daemon.process.pid)
        data = await logs(docker, "fast", stdout="1")
        rates.append(lines * 100 / 1e6 / (cpu_s(daemon.process.pid) - before))
    assert streams(data) == {1: f"{line}\n".encode() * lines}
    assert max(rates) > 40, rates
    # conmon cuts a line where its buffer ends: the parts of one have one time.
    stamped = streams(await logs(docker, "fast", stdout="1", timestamps="1", tail="5000"))[1]
    assert {len(found) for found in stamped.splitlines()} == {31 + 99}
    await remove(docker, "fast")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- events


async def test_events_by_every_filter_also_after_a_restart(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    since = f"{time.time():.6f}"
    await daemon.docker("network", "create", "evnet")
    await daemon.docker("volume", "create", "evvol")
    for name, label in (("ev1", "a=1"), ("ev2", "a=2")):
        await daemon.docker(
            *("run", "--name", name, "--label", label, "--network", "evnet", "-v", "evvol:/v"),
            *("busybox", "true"),
        )
    await daemon.docker("exec", "ev1", "true", check=False)
    await daemon.docker("tag", "busybox", "evimage:1")
    await daemon.docker("rmi", "evimage:1")
    await daemon.docker("rm", "ev1", "ev2")
    await daemon.docker("volume", "rm", "evvol")
    await daemon.docker("network", "rm", "evnet")
    until = f"{time.time():.6f}"

    async def told(*filters: str, start: str = since, end: str = until) -> list[dict[str, Any]]:
        chosen = [word for text in filters for word in ("-f", text)]
        out = await daemon.docker(
            "events", "--format", "{{json .}}", "--since", start, "--until", end, *chosen
        )
        return [json.loads(line) for line in out.stdout.splitlines()]

    async def seen(*filters: str) -> set[tuple[str, str, str]]:
        return {
            (e["Type"], e["Action"], e["Actor"]["Attributes"].get("name", ""))
            for e in await told(*filters)
        }

    whole = await told()
    assert [e["timeNano"] for e in whole] == sorted(e["timeNano"] for e in whole)
    assert all(e["time"] == e["timeNano"] // 10**9 and e["scope"] == "local" for e in whole)
    assert {kind for kind, _, _ in await seen()} == {"container", "image", "network", "volume"}
    for kind in ("container", "image", "network", "volume"):
        assert {found for found, _, _ in await seen(f"type={kind}")} == {kind}
    of_one = {("container", a, "ev1") for a in ("create", "attach", "start", "die", "destroy")}
    assert await seen("container=ev1") == of_one
    id = next(e["Actor"]["ID"] for e in whole if e["Actor"]["Attributes"].get("name") == "ev1")
    assert await seen(f"container={id}") == await seen(f"container={id[:12]}") == of_one
    assert await seen("event=start", "event=die") == {
        ("container", action, name) for action in ("start", "die") for name in ("ev1", "ev2")
    }
    assert {name for _, _, name in await seen("label=a=2")} == {"ev2"}
    assert {name for _, _, name in await seen("label=a")} == {"ev1", "ev2"}
    assert await seen("network=evnet") == {
        ("network", action, "evnet") for action in ("create", "connect", "disconnect", "destroy")
    }
    volume = {action for _, action, _ in await seen("volume=evvol")}
    assert volume == {"create", "mount", "unmount", "destroy"}
    assert {kind for kind, _, _ in await seen("image=busybox")} == {"container"}
    actions = {action for _, action, _ in await seen("type=image", "event=tag", "event=untag")}
    assert actions == {"tag", "untag"}
    assert await seen("scope=swarm") == set()
    assert await seen("scope=local") == await seen()
    assert await seen("type=container", "event=die", "label=a=1") == {("container", "die", "ev1")}
    for kind in ("config", "node", "secret", "service", "plugin"):
        assert await seen(f"{kind}=x") == set()
    middle = whole[len(whole) // 2]["timeNano"]
    moment = f"{middle // 10**9}.{middle % 10**9:09}"
    first, rest = await told(end=moment), await told(start=moment)
    assert [e for e in first if e["timeNano"] < middle] + rest == whole
    await daemon.restart()
    assert await told() == whole
    assert await told("container=ev2", "event=die") == [
        e for e in whole if e["Action"] == "die" and e["Actor"]["Attributes"]["name"] == "ev2"
    ]
    status, answer = await docker.get("/events", filters='{"odd":["x"]}')
    assert (status, answer["message"]) == (400, "invalid filter 'odd'")
    status, answer = await docker.get("/events", since="3", until="2")
    assert (status, "cannot be after" in answer["message"]) == (400, True)


async def test_events_live_behind_those_that_were(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    """A listener with ``since`` goes on from the past into what happens now, and misses nothing between."""
    since = f"{time.time():.6f}"
    await create(docker, "past", "true")
    url = "http://docker/v1.51/events"
    query = {"since": since, "filters": '{"type":["container"],"event":["create"]}'}
    async with docker.session.get(url, params=query) as response, asyncio.timeout(60):
        names = []
        for name in ("past", "now1", "now2"):
            if name != "past":
                await create(docker, name, "true")
            line = await response.content.readline()
            names.append(json.loads(line)["Actor"]["Attributes"]["name"])
    assert names == ["past", "now1", "now2"]
    await remove(docker, "past", "now1", "now2")
