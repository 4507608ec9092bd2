"""States that a container goes through and who is told: failed starts, signals, pauses, lists, figures, removals."""

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

ZERO = "0001-01-01T00:00:00Z"


def body(*command: str, host: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    return {
        "Image": "busybox",
        "Cmd": list(command),
        "HostConfig": {"NetworkMode": "none", **(host or {})},
        **config,
    }


@asynccontextmanager
async def made(
    docker: DockerClient, name: str, *command: str, start: bool = True, **options: Any
) -> AsyncIterator[str]:
    request = body(*command, **options)
    status, answer = await docker.post("/containers/create", json=request, name=name)
    assert status == 201, answer
    try:
        if start:
            status, started = await docker.post(f"/containers/{name}/start")
            assert status == 204, started
        yield str(answer["Id"])
    finally:
        await docker.delete(f"/containers/{answer['Id']}", force="1", v="1")


async def state(docker: DockerClient, name: str) -> dict[str, Any]:
    status, found = await docker.get(f"/containers/{name}/json")
    assert status == 200, found
    return dict(found["State"])


async def told(daemon: DaemonUnderTest, name: str) -> list[str]:
    done = await daemon.docker(
        *("events", "--since", "5m", "--until", f"{time.time():.9f}"),
        *("-f", f"container={name}", "--format", "{{.Action}}"),
    )
    return done.stdout.splitlines()


async def names(docker: DockerClient, **query: Any) -> list[str]:
    if "filters" in query:
        query["filters"] = json.dumps(query["filters"])
    status, listed = await docker.get("/containers/json", **query)
    assert status == 200, listed
    return [each["Names"][0][1:] for each in listed]


# ---------------------------------------------------------------- starts that fail


@pytest.mark.parametrize(
    ("options", "status", "code", "words"),
    [
        ({"Entrypoint": ["/none"]}, 400, 127, "stat /none: no such file or directory"),
        ({"Entrypoint": ["/etc/passwd"]}, 400, 126, "permission denied"),
        ({"User": "nobody-known"}, 500, 128, "unable to find user nobody-known"),
        ({"host": {"NetworkMode": "no-net"}}, 404, 128, "network no-net not found"),
        (
            {"host": {"Devices": [{"PathOnHost": "/dev/none"}]}},
            500,
            128,
            'error gathering device information while adding custom device "/dev/none"',
        ),
    ],
)
async def test_one_that_never_ran_is_created_still(
    daemon: DaemonUnderTest,
    docker: DockerClient,
    options: dict[str, Any],
    status: int,
    code: int,
    words: str,
) -> None:
    async with made(docker, "never", "true", start=False, **options):
        got, answer = await docker.post("/containers/never/start")
        assert (got, words in answer["message"]) == (status, True), answer
        found = await state(docker, "never")
        assert (found["Status"], found["ExitCode"]) == ("created", code)
        assert (found["StartedAt"], found["FinishedAt"]) == (ZERO, ZERO)
        assert found["Error"] == answer["message"]
        ended = (await docker.post("/containers/never/wait"))[1]
        assert ended == {"StatusCode": code, "Error": {"Message": answer["message"]}}
        assert "never" in await names(docker, all="1", filters={"status": ["created"]})
        assert await names(docker, all="1", filters={"exited": [str(code)]}) == []
        assert not {"start", "die"} & set(await told(daemon, "never"))
        line = await daemon.docker("ps", "-a", "-f", "name=never", "--format", "{{.Status}}")
        assert line.stdout == "Created\n"


async def test_a_port_that_is_taken_and_then_free(docker: DockerClient) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        host = {
            "NetworkMode": "bridge",
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]},
        }
        async with made(docker, "ported", "sleep", "60", start=False, host=host):
            status, answer = await docker.post("/containers/ported/start")
            assert (status, "address already in use" in answer["message"]) == (500, True)
            found = await state(docker, "ported")
            assert (found["Status"], found["ExitCode"]) == ("created", 128)
            assert found["Error"] == answer["message"]
            holder.close()
            assert (await docker.post("/containers/ported/start"))[0] == 204
            found = await state(docker, "ported")
            assert (found["Status"], found["Error"], found["ExitCode"]) == ("running", "", 0)


async def test_one_that_ran_before_keeps_its_times(docker: DockerClient) -> None:
    script = "rm /bin/sh; exit 3"
    async with made(docker, "once", "sh", "-c", script):
        await docker.post("/containers/once/wait")
        before = await state(docker, "once")
        status, answer = await docker.post("/containers/once/start")
        assert (status, "executable file not found in $PATH" in answer["message"]) == (400, True)
        after = await state(docker, "once")
        assert (after["Status"], after["ExitCode"]) == ("exited", 127)
        for time_of in ("StartedAt", "FinishedAt"):
            assert after[time_of] == before[time_of] != ZERO
        restarted = await docker.post("/containers/once/restart")
        assert restarted == (400, answer)


async def test_the_next_daemon_leaves_it_alone(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    always = {"RestartPolicy": {"Name": "always"}}
    async with made(docker, "never", start=False, host=always, Entrypoint=["/none"]):
        await docker.post("/containers/never/start")
        await daemon.kill9()
        await daemon.start()
        found = await state(docker, "never")
        assert (found["Status"], found["ExitCode"], found["Restarting"]) == ("created", 127, False)


# ---------------------------------------------------------------- signals, pauses, restarts


async def test_any_signal_by_number_and_name(docker: DockerClient) -> None:
    signals = {"USR1": "10", "WINCH": "28", "HUP": "1"}
    traps = "; ".join(f"trap 'echo got-{name}' {name}" for name in signals)
    script = f"{traps}; trap 'exit 9' 34; echo ready; while :; do sleep 0.05; done"
    async with made(docker, "signalled", "sh", "-c", script, Tty=True) as id:

        async def until_said(words: str) -> None:
            async with asyncio.timeout(30):
                while words not in str(  # noqa: ASYNC110
                    (await docker.get(f"/containers/{id}/logs", stdout="1"))[1]
                ):
                    await asyncio.sleep(0.05)

        await until_said("ready")
        for name, number in signals.items():
            for spelled in (name, f"SIG{name}", number):
                assert (await docker.post(f"/containers/{id}/kill", signal=spelled))[0] == 204
            await until_said(f"got-{name}")
        assert (await state(docker, id))["Running"]
        assert (await docker.post(f"/containers/{id}/kill", signal="SIGRTMIN"))[0] == 204
        assert (await docker.post(f"/containers/{id}/wait"))[1]["StatusCode"] == 9
        status, answer = await docker.post(f"/containers/{id}/kill")
        assert (status, answer["message"].endswith("is not running")) == (409, True)
        assert (await docker.post(f"/containers/{id}/stop"))[0] == 304
        assert (await docker.post(f"/containers/{id}/start"))[0] == 204
        assert (await docker.post(f"/containers/{id}/start"))[0] == 304


async def test_pausing(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    script = "while :; do echo tick; sleep 0.05; done"
    async with made(docker, "froze", "sh", "-c", script, Tty=True) as id:

        async def ticks() -> int:
            return str((await docker.get(f"/containers/{id}/logs", stdout="1"))[1]).count("tick")

        assert (await docker.post(f"/containers/{id}/pause"))[0] == 204
        found = await state(docker, id)
        assert (found["Status"], found["Running"], found["Paused"]) == ("paused", True, True)
        still = -1
        async with asyncio.timeout(30):
            # What was said before may still be on its way.
            while still != (still := await ticks()):  # noqa: ASYNC110
                await asyncio.sleep(0.3)
        for call, words in (("pause", "is already paused"), ("start", "cannot start a paused")):
            status, answer = await docker.post(f"/containers/{id}/{call}")
            assert (status, words in answer["message"]) == (409, True)
        status, answer = await docker.post(f"/containers/{id}/exec", json={"Cmd": ["true"]})
        assert (status, "paused" in answer["message"]) == (409, True)
        status, answer = await docker.delete(f"/containers/{id}")
        assert (status, "container is paused" in answer["message"]) == (409, True)
        assert "froze" in await names(docker, filters={"status": ["paused"]})
        # Frozen still, also for the next daemon.
        await daemon.restart()
        assert (await state(docker, id))["Paused"]
        assert (await docker.post(f"/containers/{id}/unpause"))[0] == 204
        async with asyncio.timeout(30):
            while await ticks() == still:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        status, answer = await docker.post(f"/containers/{id}/unpause")
        assert (status, answer["message"]) == (409, f"Container {id} is not paused")
        await docker.post(f"/containers/{id}/pause")
        assert (await docker.post(f"/containers/{id}/stop", t="0"))[0] == 204
        assert (await state(docker, id))["Status"] == "exited", "a stop thaws"


async def test_a_commit_pauses_unless_it_shall_not(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    async with made(docker, "kept", "sleep", "60") as id:
        await daemon.docker("commit", "--pause=false", "kept", "kept:1")
        assert "pause" not in await told(daemon, id)
        await daemon.docker("commit", "kept", "kept:1")
        assert [a for a in await told(daemon, id) if "pause" in a] == ["pause", "unpause"]
        assert (await state(docker, id))["Status"] == "running"
    await daemon.docker("rmi", "kept:1")


async def test_restarting_by_hand(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    async with made(docker, "again", "sleep", "60") as id:
        first = await state(docker, id)
        assert (await docker.post(f"/containers/{id}/restart", t="0"))[0] == 204
        second = await state(docker, id)
        assert second["Pid"] != first["Pid"]
        assert second["StartedAt"] > first["StartedAt"]
        assert (await told(daemon, id))[-5:] == ["kill", "die", "stop", "start", "restart"]
        await docker.post(f"/containers/{id}/stop", t="0")
        assert (await docker.post(f"/containers/{id}/restart"))[0] == 204, "of a stopped one, too"
        assert (await state(docker, id))["Running"]


async def test_a_terminal_is_resized(docker: DockerClient) -> None:
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done"
    async with made(docker, "sized", "sh", "-c", script, Tty=True) as id:
        logs = f"/containers/{id}/logs"
        async with asyncio.timeout(30):
            while " " not in str((await docker.get(logs, stdout="1"))[1]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            assert (await docker.post(f"/containers/{id}/resize", h="44", w="111"))[0] == 200
            while "44 111" not in str((await docker.get(logs, stdout="1"))[1]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await docker.post(f"/containers/{id}/kill")
        status, answer = await docker.post(f"/containers/{id}/resize", h="4", w="4")
        assert (status, "is not running" in answer["message"]) == (409, True)


async def test_waiting_clients_of_a_daemon_that_ends(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    """They learn that they do not know; whoever asks the next daemon learns the code."""
    script = "while [ ! -e /go ]; do sleep 0.05; done; exit 5"
    async with made(docker, "long", "sh", "-c", script):
        connector = aiohttp.UnixConnector(str(daemon.socket("docker")))
        async with aiohttp.ClientSession(connector=connector) as session:
            response = await session.post("http://docker/v1.51/containers/long/wait")
            assert response.status == 200
            await daemon.kill9()
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        await daemon.start()
        await daemon.docker("exec", "long", "touch", "/go")
        assert (await docker.post("/containers/long/wait"))[1]["StatusCode"] == 5


async def test_retries_go_on_where_the_last_daemon_was(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    policy = {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}
    async with made(docker, "counted", "false", host=policy):

        async def count() -> int:
            return int((await docker.get("/containers/counted/json"))[1]["RestartCount"])

        async with asyncio.timeout(60):
            while await count() < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await daemon.kill9()
            await daemon.start()
            while (await state(docker, "counted"))["Status"] != "exited":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await count() == 3
        assert (await state(docker, "counted"))["ExitCode"] == 1


async def test_one_that_waits_for_its_restart(docker: DockerClient) -> None:
    always = {"RestartPolicy": {"Name": "always"}}
    async with made(docker, "due", "false", host=always) as id:

        async def until_due() -> int:
            """Until it waits, and has some waits behind it, each twice as long; the count of restarts."""
            while True:
                found = (await docker.get("/containers/due/json"))[1]
                shown = [found["State"][name] for name in ("Status", "Running", "Pid")]
                if shown == ["restarting", True, 0] and found["RestartCount"] >= 3:
                    return int(found["RestartCount"])
                await asyncio.sleep(0.02)

        async def refused(method: str, path: str) -> str:
            """The words of a refusal that came while it waited, and not a moment after."""
            while True:
                before = await until_due()
                status, answer = await docker.call(method, f"/containers/{id}{path}")
                if await until_due() == before:
                    assert status == 409, answer
                    return str(answer["message"])

        async with asyncio.timeout(90):
            assert "is not running" in await refused("POST", "/pause")
            assert "is restarting, wait until" in await refused("GET", "/top")
            assert "container is restarting" in await refused("DELETE", "")
            for call in ("kill", "stop"):
                await until_due()
                assert (await docker.post(f"/containers/{id}/{call}"))[0] == 204
                found = (await docker.get("/containers/due/json"))[1]
                assert found["State"]["Status"] == "exited"
                count = found["RestartCount"]
                await asyncio.sleep(1)
                assert (await docker.get("/containers/due/json"))[1]["RestartCount"] == count
                if call == "kill":
                    assert (await docker.post(f"/containers/{id}/start"))[0] == 204


# ---------------------------------------------------------------- figures


async def test_top_with_options(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    async with made(docker, "topped", "sh", "-c", "sleep 61 & exec sleep 62") as id:
        async with asyncio.timeout(30):
            while True:
                status, found = await docker.get(f"/containers/{id}/top")
                if sorted(row[-1] for row in found["Processes"]) == ["sleep 61", "sleep 62"]:
                    break
                await asyncio.sleep(0.05)
        assert (status, found["Titles"][:2], found["Titles"][-1]) == (200, ["UID", "PID"], "CMD")
        pid = str((await state(docker, id))["Pid"])
        _, found = await docker.get(f"/containers/{id}/top", ps_args="-o pid,comm")
        assert found["Titles"] == ["PID", "COMMAND"]
        assert [pid, "sleep"] in found["Processes"]
        shown = await daemon.docker("top", "topped", "aux")
        assert shown.stdout.splitlines()[0].split()[:3] == ["USER", "PID", "%CPU"]
        for args, code, words in (
            ("-o comm", 500, "Couldn't find PID field in ps output"),
            ("-o ppid=PID", 400, 'specifying "ppid=PID" is not allowed'),
            ("--no-such", 500, "ps: error: unknown gnu long option"),
        ):
            answer = await docker.get(f"/containers/{id}/top", ps_args=args)
            assert answer == (code, {"message": words})
        await docker.post(f"/containers/{id}/kill")
        assert (await docker.get(f"/containers/{id}/top"))[0] == 409


def _written(figures: dict[str, Any]) -> int:
    entries = figures["blkio_stats"]["io_service_bytes_recursive"] or []
    return sum(entry["value"] for entry in entries if entry["op"].lower() == "write")


async def _figures_once_written(docker: DockerClient, id: str) -> dict[str, Any]:
    """The first figures of 4 MiB or more written; others when they do not come."""
    url = f"http://docker/v1.51/containers/{id}/stats"
    figures: dict[str, Any] = {}
    async with docker.session.get(url) as response:
        for _ in range(30):
            figures = json.loads(await response.content.readline())
            if _written(figures) >= 4 << 20:
                break
    return figures


async def test_stats_as_a_stream_and_as_the_cli_draws_them(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    script = "dd if=/dev/zero of=/f bs=1M count=4 oflag=direct 2>/dev/null; while :; do :; done"
    host = {"NetworkMode": "bridge", "Memory": 64 << 20, "PidsLimit": 30}
    async with made(docker, "figured", "sh", "-c", script, host=host) as id:
        url = f"http://docker/v1.51/containers/{id}/stats"
        async with asyncio.timeout(60), docker.session.get(url) as response:
            first, second, third = [json.loads(await response.content.readline()) for _ in range(3)]
        assert first["precpu_stats"]["cpu_usage"]["total_usage"] == 0
        for before, after in ((first, second), (second, third)):
            assert after["precpu_stats"] == before["cpu_stats"]
            assert after["preread"] == before["read"] < after["read"]
        assert third["pids_stats"] == {"current": 1, "limit": 30}
        assert third["networks"]["eth0"].keys() == {
            f"{way}_{what}"
            for way in ("rx", "tx")
            for what in ("bytes", "packets", "errors", "dropped")
        }
        assert _written(await _figures_once_written(docker, id)) >= 4 << 20
        shown = await daemon.docker("stats", "--no-stream", "--format", "{{json .}}", "figured")
        drawn = json.loads(shown.stdout)
        assert 0 < float(drawn["CPUPerc"].rstrip("%")) < 150
        assert drawn["MemUsage"].endswith("/ 64MiB")
        assert (drawn["PIDs"], drawn["Name"]) == ("1", "figured")
        assert drawn["BlockIO"].rpartition(" / ")[2] not in ("0B", "")
        await docker.post(f"/containers/{id}/kill")
        status, text = await docker.get(f"/containers/{id}/stats", stream="0")
        stopped = text if isinstance(text, dict) else json.loads(text)
        assert (status, stopped["read"], stopped["memory_stats"]) == (200, ZERO, {})


# ---------------------------------------------------------------- lists


async def test_lists_by_every_filter(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    labels = {"app": "one", "tier": "a"}
    health = {"Test": ["CMD", "true"], "Interval": 10**11}
    bridged = {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}}
    async with (
        made(docker, "f-up", "sleep", "60", host=bridged, Labels=labels, Healthcheck=health) as up,
        made(docker, "f-new", "true", start=False, host={"Binds": ["fvol:/v"]}),
        made(docker, "f-out", "sh", "-c", "exit 3", ExposedPorts={"9000/udp": {}}) as out,
    ):
        await docker.post("/containers/f-out/wait")
        every = ["f-out", "f-new", "f-up"]
        inspected = (await docker.get("/containers/f-up/json"))[1]
        port = inspected["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
        image = (await docker.get("/images/busybox/json"))[1]["Id"]
        chosen: list[tuple[dict[str, list[str]], list[str]]] = [
            ({}, every),
            ({"ancestor": ["busybox"]}, every),
            ({"ancestor": [image]}, every),
            ({"ancestor": ["no-such"]}, []),
            ({"before": ["f-new"]}, ["f-up"]),
            ({"since": ["f-new"]}, ["f-out"]),
            ({"exited": ["3"]}, ["f-out"]),
            ({"exited": ["0"]}, []),
            ({"expose": ["9000/udp"]}, []),  # it does not run
            ({"expose": ["79-81"]}, ["f-up"]),
            ({"publish": ["80"]}, []),  # a port of the host is meant
            ({"publish": [f"{port}-{port}"]}, ["f-up"]),
            ({"publish": [f"{port}/udp"]}, []),
            ({"health": ["none"]}, ["f-out", "f-new"]),
            ({"health": ["starting", "healthy"]}, ["f-up"]),
            ({"id": [out[:10]]}, ["f-out"]),
            ({"is-task": ["true"]}, []),
            ({"is-task": ["false"]}, every),
            ({"isolation": ["default"]}, every),
            ({"label": ["app"]}, ["f-up"]),
            ({"label": ["app=one", "tier=a"]}, ["f-up"]),
            ({"label": ["app=one", "tier=b"]}, []),
            ({"name": ["^/f-[un]"]}, ["f-new", "f-up"]),
            ({"name": ["out"]}, ["f-out"]),
            ({"network": ["bridge"]}, ["f-up"]),
            ({"network": ["none"]}, ["f-out", "f-new"]),
            ({"status": ["running"]}, ["f-up"]),
            ({"status": ["created", "exited"]}, ["f-out", "f-new"]),
            ({"volume": ["fvol"]}, ["f-new"]),
            ({"volume": ["/v"]}, ["f-new"]),
        ]
        for filters, expected in chosen:
            assert await names(docker, all="1", filters=filters) == expected, filters
        assert await names(docker) == ["f-up"]
        assert await names(docker, limit="2") == ["f-out", "f-new"]
        assert await names(docker, filters={"status": ["exited"]}) == ["f-out"]
        by_cli = await daemon.docker("ps", "-aqn", "1", "--no-trunc")
        assert by_cli.stdout.split() == [out]
        sized = (await docker.get("/containers/json", size="1"))[1]
        assert [each["Id"] for each in sized] == [up]
        assert sized[0]["SizeRootFs"] > 1 << 20
        for wrong in ({"status": ["odd"]}, {"health": ["odd"]}, {"exited": ["x"]}, {"odd": ["x"]}):
            answer = await docker.get("/containers/json", filters=json.dumps(wrong))
            assert answer[0] == 400, wrong
        unknown = await docker.get("/containers/json", filters='{"before":["none"]}')
        assert unknown == (404, {"message": "No such container: none"})
    await daemon.docker("volume", "rm", "fvol")


async def test_inspect_has_every_field(docker: DockerClient) -> None:
    """What the API's schema lists for Linux, but for the manifest descriptor of a containerd image store."""
    health = {"Test": ["CMD", "true"]}
    async with made(docker, "whole", "sleep", "60", host={"Init": True}, Healthcheck=health):
        found = (await docker.get("/containers/whole/json", size="1"))[1]
    expected = {
        "": "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name "
        "RestartCount Driver Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig "
        "GraphDriver SizeRw SizeRootFs Mounts Config NetworkSettings",
        "State": "Status Running Paused Restarting OOMKilled Dead Pid ExitCode Error StartedAt "
        "FinishedAt Health",
        "Config": "Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin "
        "StdinOnce Env Cmd Healthcheck Image Volumes WorkingDir Entrypoint OnBuild Labels",
        "HostConfig": "Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy "
        "AutoRemove VolumeDriver VolumesFrom ConsoleSize CapAdd CapDrop CgroupnsMode Dns "
        "DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode Cgroup Links OomScoreAdj PidMode "
        "Privileged PublishAllPorts ReadonlyRootfs SecurityOpt UTSMode UsernsMode ShmSize "
        "Runtime Isolation CpuShares Memory NanoCpus CgroupParent BlkioWeight BlkioWeightDevice "
        "BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps "
        "CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices "
        "DeviceCgroupRules DeviceRequests MemoryReservation MemorySwap MemorySwappiness "
        "OomKillDisable PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth "
        "MaskedPaths ReadonlyPaths Init",
        "NetworkSettings": "SandboxID SandboxKey Ports Networks",
    }
    for part, fields in expected.items():
        missing = set(fields.split()) - set(found[part] if part else found)
        assert not missing, part


# ---------------------------------------------------------------- removal


async def test_names_and_removal(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    volumes: dict[str, Any] = {"/anonymous": {}}
    async with made(docker, "taken", "sleep", "60", Volumes=volumes) as id:
        status, answer = await docker.post("/containers/create", json=body("true"), name="taken")
        words = f'The container name "/taken" is already in use by container "{id}"'
        assert (status, words in answer["message"]) == (409, True)
        for bad in ("_", "a b", "-x", "a/b"):
            status, answer = await docker.post("/containers/create", json=body("true"), name=bad)
            assert (status, "Invalid container name" in answer["message"]) == (400, True)
        status, answer = await docker.delete(f"/containers/{id}")
        words = 'cannot remove container "/taken": container is running'
        assert (status, words in answer["message"]) == (409, True)
        (mount,) = (await docker.get(f"/containers/{id}/json"))[1]["Mounts"]
        assert (await docker.get(f"/volumes/{mount['Name']}"))[0] == 200
        assert (await docker.delete("/containers/taken", force="1", v="1"))[0] == 204
        assert (await docker.get(f"/containers/{id}/json"))[0] == 404
        assert (await docker.get(f"/volumes/{mount['Name']}"))[0] == 404
        assert (await told(daemon, id))[-3:] == ["kill", "die", "destroy"]
        assert (await docker.delete("/containers/taken", force="1"))[0] == 404
    async with made(docker, "taken", "true", start=False):
        assert (await docker.get("/containers/taken/json"))[0] == 200, "the name is free again"


async def test_auto_remove_and_who_waits_for_it(docker: DockerClient) -> None:
    config = body("sh", "-c", "exit 4", host={"AutoRemove": True}, Volumes={"/a": {}})
    await docker.post("/containers/create", json=config, name="gone")
    (mount,) = (await docker.get("/containers/gone/json"))[1]["Mounts"]
    url = "http://docker/v1.51/containers/gone/wait?condition=removed"
    async with asyncio.timeout(60), docker.session.post(url) as response:
        await docker.post("/containers/gone/start")
        assert await response.json() == {"StatusCode": 4}
    assert (await docker.get("/containers/gone/json"))[0] == 404
    assert (await docker.get(f"/volumes/{mount['Name']}"))[0] == 404, "its anonymous volumes, too"


async def test_prune_with_filters(docker: DockerClient) -> None:
    async with (
        made(docker, "p-keep", "true", Labels={"keep": "1"}),
        made(docker, "p-drop", "true", Labels={"keep": "0"}),
        made(docker, "p-none", "true", start=False),
        made(docker, "p-live", "sleep", "60"),
    ):
        for name in ("p-keep", "p-drop"):
            await docker.post(f"/containers/{name}/wait")

        async def prune(**filters: list[str]) -> int:
            status, pruned = await docker.post("/containers/prune", filters=json.dumps(filters))
            assert status == 200, pruned
            return len(pruned["ContainersDeleted"] or [])

        assert await prune(until=["1h"]) == 0
        assert await prune(label=["keep=0"]) == 1
        assert await names(docker, all="1") == ["p-live", "p-none", "p-keep"]
        assert await prune(**{"label!": ["keep"]}) == 1
        assert await names(docker, all="1") == ["p-live", "p-keep"]
        status, answer = await docker.post("/containers/prune", filters='{"odd":["x"]}')
        assert (status, answer["message"]) == (400, "invalid filter 'odd'")
        assert await prune() == 1
        assert await names(docker, all="1") == ["p-live"]
