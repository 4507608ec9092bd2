"""Containers' life over the API: names, conflicts, wait, stop, kill, remove, in Docker's words."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from sharedrt.model.drivers import LogLine
from sharedrt.model.faults import Internal
from sharedrt.model.ids import EndpointId, NetworkId
from sharedrt.model.records import ContainerState, EndpointRecord, PortMapping
from sharedrt.services.contracts import WaitCondition
from sharedrt.wire.docker_stream import StreamDecoder, StreamFrame
from sharedrt.wire.docker_time import ZERO_TIME
from tests.edges.docker.conftest import DoorUnderTest
from tests.edges.docker.fakes import start_failed


async def test_create_inspect_list(door: DoorUnderTest) -> None:
    status, made, _ = await door.call(
        "POST",
        "/containers/create?name=/web",
        {
            "Image": "busybox",
            "Cmd": ["sleep", "a b"],
            "Env": ["A=1"],
            "Labels": {"role": "one"},
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"Memory": 64 << 20, "PortBindings": {"80/tcp": [{"HostPort": ""}]}},
        },
    )
    assert status == 201
    assert made["Warnings"] == []
    id = made["Id"]
    _, inspected, _ = await door.call("GET", f"/containers/{id[:8]}/json")
    assert inspected["Id"] == id
    assert inspected["Name"] == "/web"
    assert (inspected["Path"], inspected["Args"]) == ("sleep", ["a b"])
    assert inspected["Config"]["Hostname"] == id[:12]
    assert inspected["Config"]["Env"] == ["A=1", "PATH=/bin"]
    assert inspected["HostConfig"]["Memory"] == 64 << 20
    assert inspected["HostConfig"]["MemorySwap"] == 128 << 20
    assert inspected["HostConfig"]["ShmSize"] == 64 << 20
    assert inspected["HostConfig"]["NetworkMode"] == "bridge"
    assert inspected["State"]["Status"] == "created"
    assert inspected["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    assert inspected["NetworkSettings"]["Networks"]["bridge"]["NetworkID"] == "1" * 64
    _, listed, _ = await door.call("GET", "/containers/json?all=1")
    assert [c["Names"] for c in listed] == [["/web"]]
    assert listed[0]["Command"] == "sleep 'a b'"
    assert listed[0]["Status"] == "Created"
    assert (await door.call("GET", "/containers/json"))[1] == []


async def test_ports_and_addresses_while_it_runs(door: DoorUnderTest) -> None:
    id = await door.create(ExposedPorts={"80/tcp": {}, "53/udp": {}})
    await door.call("POST", f"/containers/{id}/start")
    door.runtime.containers.networks[id] = [
        EndpointRecord(
            EndpointId("e" * 64),
            NetworkId("1" * 64),
            id,
            mac="02:42:ac:1d:00:02",
            addresses=("172.29.0.2/16",),
            ports=(PortMapping("tcp", 80, 8080, "127.0.0.1"),),
        )
    ]
    _, inspected, _ = await door.call("GET", f"/containers/{id}/json")
    settings = inspected["NetworkSettings"]
    assert settings["IPAddress"] == "172.29.0.2"
    assert settings["Networks"]["bridge"]["Gateway"] == "172.29.0.1"
    assert settings["Ports"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
        "53/udp": None,
    }
    _, (listed,), _ = await door.call("GET", "/containers/json")
    assert listed["Ports"] == [
        {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
    ]
    assert listed["Status"].startswith("Up ")


async def test_names(door: DoorUnderTest) -> None:
    id = await door.create()
    status, value, _ = await door.call("POST", "/containers/create?name=web", {"Image": "busybox"})
    assert status == 409
    assert value["message"] == (
        f'Conflict. The container name "/web" is already in use by container "{id}". You have to '
        "remove (or rename) that container to be able to reuse that name."
    )
    status, value, _ = await door.call("POST", "/containers/create?name=a%20b", {"Image": "x"})
    assert status == 400
    assert "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed" in value["message"]
    _, made, _ = await door.call("POST", "/containers/create", {"Image": "busybox"})
    record = door.runtime.containers.by_id(made["Id"])
    adjective, _, noun = record.name.partition("_")
    assert adjective.isalpha()
    assert noun.isalpha()
    assert (await door.call("POST", f"/containers/{id}/rename?name=other"))[0] == 204
    status, value, _ = await door.call("POST", f"/containers/{id}/rename?name={record.name}")
    assert status == 409


async def test_unknown_things(door: DoorUnderTest) -> None:
    status, value, _ = await door.call("POST", "/containers/create", {"Image": "nope"})
    assert (status, value["message"]) == (404, "No such image: nope:latest")
    for method, path in (
        ("GET", "json"),
        ("POST", "start"),
        ("POST", "stop"),
        ("POST", "attach"),
        ("POST", "wait"),
        ("GET", "logs?stdout=1"),
        ("POST", "exec"),
    ):
        body = {"Cmd": ["x"]} if path == "exec" else None
        status, value, _ = await door.call(method, f"/containers/nope/{path}", body)
        assert (status, value["message"]) == (404, "No such container: nope")
    assert (await door.call("GET", "/exec/nope/json"))[1] == {
        "message": "No such exec instance: nope"
    }


async def test_life(door: DoorUnderTest) -> None:
    id = await door.create(StopTimeout=3)
    assert (await door.call("POST", f"/containers/{id}/start"))[0] == 204
    assert (await door.call("POST", f"/containers/{id}/start"))[0] == 304
    status, value, _ = await door.call("DELETE", "/containers/web")
    assert status == 409
    assert value["message"] == (
        'cannot remove container "/web": container is running: '
        "stop the container before removing or force remove"
    )
    assert (await door.call("POST", f"/containers/{id}/pause"))[0] == 204
    assert (await door.call("GET", f"/containers/{id}/json"))[1]["State"]["Status"] == "paused"
    status, value, _ = await door.call("POST", f"/containers/{id}/pause")
    assert (status, value["message"]) == (409, f"Container {id} is already paused")
    assert (await door.call("POST", f"/containers/{id}/unpause"))[0] == 204
    status, value, _ = await door.call("POST", f"/containers/{id}/unpause")
    assert (status, value["message"]) == (409, f"Container {id} is not paused")
    for t in ("9" * 20, "9" * 400, "1.5"):
        status, value, _ = await door.call("POST", f"/containers/{id}/stop?t={t}")
        assert (status, value["message"][:21]) == (400, "invalid value for 't'")
    assert (await door.call("POST", f"/containers/{id}/stop"))[0] == 204
    assert door.runtime.containers.stopped_with == (3, "")
    assert (await door.call("POST", f"/containers/{id}/stop?t=7&signal=INT"))[0] == 304
    assert door.runtime.containers.stopped_with == (7, "INT")
    status, value, _ = await door.call("POST", "/containers/web/kill")
    assert status == 409
    assert value["message"] == f"cannot kill container: web: container {id} is not running"
    assert (await door.call("DELETE", f"/containers/{id}"))[0] == 204


async def test_a_container_about_to_restart_is_not_removed_unforced(door: DoorUnderTest) -> None:
    id = await door.create()
    door.runtime.containers.restarting_ids.add(id)
    status, value, _ = await door.call("DELETE", f"/containers/{id}")
    assert status == 409
    assert "container is restarting: stop the container before removing" in value["message"]
    assert (await door.call("DELETE", f"/containers/{id}?force=1"))[0] == 204


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (127, 400, "executable file not found in $PATH"),
        (126, 400, "permission denied"),
        (128, 500, "OCI runtime create failed"),
    ],
)
async def test_start_failures_say_what_the_cli_looks_for(
    door: DoorUnderTest, code: int, status: int, words: str
) -> None:
    id = await door.create()
    door.runtime.containers.start_fault = start_failed(code)
    got, value, _ = await door.call("POST", f"/containers/{id}/start")
    assert got == status
    assert words in value["message"]
    state = (await door.call("GET", f"/containers/{id}/json"))[1]["State"]
    assert (state["Status"], state["Error"]) == ("created", value["message"])
    assert (state["StartedAt"], state["FinishedAt"]) == (ZERO_TIME, ZERO_TIME)
    exited = f"/containers/json?all=1&filters={json.dumps({'exited': ['128']})}"
    assert (await door.call("GET", exited))[1] == []


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("", WaitCondition.NOT_RUNNING),
        ("?condition=not-running", WaitCondition.NOT_RUNNING),
        ("?condition=next-exit", WaitCondition.NEXT_EXIT),
        ("?condition=removed", WaitCondition.REMOVED),
    ],
)
async def test_wait_sends_its_head_at_once(
    door: DoorUnderTest, condition: str, wanted: WaitCondition
) -> None:
    id = await door.create()
    async with (
        asyncio.timeout(60),
        door.http.post(f"http://docker/containers/{id}/wait{condition}") as response,
    ):
        assert response.status == 200
        assert door.runtime.containers.wait_condition is wanted
        await door.call("POST", f"/containers/{id}/start")
        door.runtime.containers.end(id, 42)
        if wanted is WaitCondition.REMOVED:
            await door.call("DELETE", f"/containers/{id}")
            assert json.loads(await response.read()) == {"StatusCode": 0}
        else:
            assert json.loads(await response.read()) == {"StatusCode": 42}


async def test_wait_refuses_unknown_conditions(door: DoorUnderTest) -> None:
    id = await door.create()
    status, value, _ = await door.call("POST", f"/containers/{id}/wait?condition=odd")
    assert (status, value["message"]) == (400, 'invalid condition: "odd"')
    async with asyncio.timeout(60):
        await door.call("POST", f"/containers/{id}/start")
        door.runtime.containers.end(id, 1)
        # Before 1.30 there were no conditions, and what is not known was not looked at.
        status, value, _ = await door.call("POST", f"/v1.29/containers/{id}/wait?condition=odd")
    assert (status, value) == (200, {"StatusCode": 1})


async def test_exec_errors(door: DoorUnderTest) -> None:
    id = await door.create()
    status, value, _ = await door.call("POST", f"/containers/{id}/exec", {"Cmd": ["x"]})
    assert (status, value["message"]) == (409, f"container {id} is not running")
    await door.call("POST", f"/containers/{id}/start")
    status, value, _ = await door.call("POST", f"/containers/{id}/exec", {"Cmd": []})
    assert (status, value["message"]) == (400, "No exec command specified")
    _, made, _ = await door.call("POST", f"/containers/{id}/exec", {"Cmd": ["x"], "Tty": True})
    path = f"/exec/{made['Id']}"
    status, _, _ = await door.call(
        "POST", f"{path}/start", {"Detach": True, "ConsoleSize": [24, 80]}
    )
    assert status == 200
    assert door.runtime.execs.size == (80, 24)
    status, value, _ = await door.call("POST", f"{path}/start", {"Detach": True})
    assert status == 409
    assert (await door.call("POST", f"{path}/resize?h=10&w=20"))[0] == 200
    assert door.runtime.execs.session.sizes == [(20, 10)]


LINES = [
    [LogLine(1_700_000_000_000_000_001, 1, b"one", False), LogLine(2, 2, b"err", False)],
    [LogLine(3, 1, b"par", True), LogLine(4, 1, b"tial", False)],
]


async def logs(door: DoorUnderTest, path: str) -> list[StreamFrame]:
    async with door.http.get(f"http://docker{path}") as response:
        assert response.status == 200
        decoder = StreamDecoder()
        frames = decoder.receive_data(await response.read())
        decoder.receive_eof()
        return frames


async def test_logs(door: DoorUnderTest) -> None:
    id = await door.create()
    door.runtime.containers.lines = LINES
    path = f"/containers/{id}/logs?stdout=1&stderr=1"
    assert await logs(door, path) == [
        StreamFrame(1, b"one\n"),
        StreamFrame(2, b"err\n"),
        StreamFrame(1, b"par"),
        StreamFrame(1, b"tial\n"),
    ]
    frames = await logs(door, path + "&timestamps=1&tail=5&since=7.5&until=9&follow=1")
    assert frames[0] == StreamFrame(1, b"2023-11-14T22:13:20.000000001Z one\n")
    assert frames[3] == StreamFrame(1, b"tial\n")
    query = door.runtime.containers.log_query
    assert query is not None
    assert (query.tail, query.since_ns, query.until_ns, query.follow) == (
        5,
        7_500_000_000,
        9_000_000_000,
        True,
    )
    status, value, _ = await door.call("GET", f"/containers/{id}/logs")
    assert status == 400
    assert "you must choose at least one stream" in value["message"]
    status, _, _ = await door.call("GET", path + "&since=soon")
    assert status == 400


async def test_logs_of_a_terminal_and_details(door: DoorUnderTest) -> None:
    id = await door.create(
        Tty=True,
        Labels={"app": "web", "other": "x"},
        Env=["ZONE=a"],
        HostConfig={"LogConfig": {"Type": "json-file", "Config": {"labels": "app", "env": "ZONE"}}},
    )
    door.runtime.containers.lines = [[LogLine(1, 1, b"$ ls\r", False)]]
    async with door.http.get(f"http://docker/containers/{id}/logs?stdout=1&details=1") as response:
        assert response.content_type == "application/vnd.docker.raw-stream"
        assert await response.read() == b"ZONE=a,app=web $ ls\r\n"


async def test_logs_that_are_not_kept(door: DoorUnderTest) -> None:
    id = await door.create(HostConfig={"LogConfig": {"Type": "none"}})
    status, value, _ = await door.call("GET", f"/containers/{id}/logs?stdout=1")
    assert status == 501
    assert value["message"] == "configured logging driver does not support reading"


async def test_a_log_that_cannot_be_read_to_its_end(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await door.create()

    async def broken(*_: Any) -> AsyncIterator[list[LogLine]]:
        yield LINES[0]
        raise Internal("log", "torn")

    monkeypatch.setattr(door.runtime.containers, "logs", broken)
    frames = await logs(door, f"/containers/{id}/logs?stdout=1")
    assert frames[-1] == StreamFrame(3, b"Error grabbing logs: log: torn\n")


async def test_a_bug_inside_a_stream_breaks_the_connection(
    door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await door.create()

    async def broken(*_: Any) -> AsyncIterator[list[LogLine]]:
        yield LINES[0]
        raise KeyError("bug")

    monkeypatch.setattr(door.runtime.containers, "logs", broken)
    with pytest.raises(aiohttp.ClientPayloadError):
        await logs(door, f"/containers/{id}/logs?stdout=1")


async def test_following_ends_with_the_client(door: DoorUnderTest) -> None:
    id = await door.create()
    door.runtime.containers.lines, door.runtime.containers.follow_forever = LINES, True
    reader, writer = await door.open()
    writer.write(
        f"GET /containers/{id}/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: d\r\n\r\n".encode()
    )
    assert b"one" in await reader.readuntil(b"one")
    writer.close()
    await asyncio.sleep(0.05)
    streaming = [t for t in asyncio.all_tasks() if "_handle_request" in repr(t)]
    assert not streaming


async def test_filters(door: DoorUnderTest) -> None:
    first = await door.create(Labels={"a": "1"}, ExposedPorts={"80/tcp": {}})
    await door.call("POST", f"/containers/{first}/start")
    _, made, _ = await door.call("POST", "/containers/create?name=db", {"Image": "busybox"})
    second = made["Id"]
    record = door.runtime.containers.by_id(second)
    door.runtime.containers.put(
        replace(
            record,
            state=ContainerState.EXITED,
            exit_code=3,
            created_ns=record.created_ns + 10,
            started_ns=record.created_ns + 20,
        )
    )

    async def names(filters: dict[str, Any], query: str = "all=1") -> list[str]:
        status, listed, _ = await door.call(
            "GET", f"/containers/json?{query}&filters={json.dumps(filters)}"
        )
        assert status == 200, listed
        return [c["Names"][0] for c in listed]

    assert await names({}) == ["/db", "/web"]
    assert await names({}, "") == ["/web"]
    assert await names({}, "limit=1") == ["/db"]
    assert await names({"label": ["a=1"]}) == ["/web"]
    assert await names({"name": ["^/db$"]}) == ["/db"]
    assert await names({"id": [first[:12]]}) == ["/web"]
    assert await names({"status": ["exited"]}, "") == ["/db"]
    assert await names({"exited": ["3"]}) == ["/db"]
    ended = door.runtime.containers.by_id(second)
    door.runtime.containers.put(replace(ended, started_ns=0))
    assert await names({"status": ["created"]}) == ["/db"], "its start failed: it has never run"
    door.runtime.containers.put(ended)
    assert await names({"before": ["db"]}) == ["/web"]
    assert await names({"since": ["web"]}) == ["/db"]
    assert await names({"ancestor": ["busybox"]}) == ["/db", "/web"]
    assert await names({"ancestor": ["alpine"]}) == []
    assert await names({"network": ["bridge"]}) == ["/db", "/web"]
    assert await names({"network": ["none"]}) == []
    assert await names({"expose": ["80-81/tcp"]}) == ["/web"]
    assert await names({"expose": ["80/udp"]}) == []
    published = (PortMapping("tcp", 90, 1090),)
    door.runtime.containers.networks[first] = [
        EndpointRecord(EndpointId("e" * 64), NetworkId("1" * 64), first, ports=published)
    ]
    assert await names({"publish": ["90"]}) == [], "a port of the host is meant"
    assert await names({"publish": ["1000-1100", "7"]}) == ["/web"]
    assert await names({"publish": ["7"], "expose": ["90"]}) == ["/web"], "one of them is enough"
    many = [f"{low}-65535" for low in range(2000, 3000)]
    assert await names({"publish": many}) == [], "took minutes, with the event loop standing still"
    assert await names({"is-task": ["true"]}) == []
    assert await names({"health": ["healthy"]}) == []
    for bad in ({"status": ["odd"]}, {"colour": ["red"]}, {"exited": ["x"]}, {"publish": ["x"]}):
        path = f"/containers/json?filters={json.dumps(bad)}"
        assert (await door.call("GET", path))[0] == 400
    status, value, _ = await door.call("GET", '/containers/json?filters={"since":["nope"]}')
    assert (status, value["message"]) == (404, "No such container: nope")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("w=1", 'invalid resize height "": invalid syntax'),
        ("h=1&w=", 'invalid resize width "": invalid syntax'),
        ("h=x&w=1", 'invalid resize height "x": invalid syntax'),
        ("h=%2B1&w=1", 'invalid resize height "+1": invalid syntax'),
        ("h=-1&w=1", 'invalid resize height "-1": value out of range'),
        ("h=1&w=4294967296", 'invalid resize width "4294967296": value out of range'),
    ],
)
async def test_terminal_sizes_refused(door: DoorUnderTest, query: str, words: str) -> None:
    for path in ("containers/nope", "exec/nope"):
        status, value, _ = await door.call("POST", f"/{path}/resize?{query}")
        assert (status, value["message"]) == (400, words)


async def test_a_start_takes_no_body(door: DoorUnderTest) -> None:
    id = await door.create()
    status, value, _ = await door.call("POST", f"/containers/{id}/start", {"Memory": 1 << 30})
    assert status == 400
    assert "non-empty request body" in value["message"]
    assert (await door.call("POST", f"/containers/{id}/start", {}))[0] == 204


async def test_update(door: DoorUnderTest) -> None:
    id = await door.create()
    status, _, _ = await door.call(
        "POST",
        f"/containers/{id}/update",
        {
            "Memory": 100 << 20,
            "MemorySwap": 200 << 20,
            "CpuShares": 256,
            "RestartPolicy": {"Name": "unless-stopped"},
        },
    )
    assert status == 200
    _, inspected, _ = await door.call("GET", f"/containers/{id}/json")
    host_config = inspected["HostConfig"]
    assert (host_config["Memory"], host_config["CpuShares"]) == (100 << 20, 256)
    assert host_config["RestartPolicy"] == {"Name": "unless-stopped", "MaximumRetryCount": 0}
    record = door.runtime.containers.by_id(id)
    assert record.spec.resources.memory_bytes == 100 << 20
    assert record.restart_policy == "unless-stopped"


async def test_prune(door: DoorUnderTest) -> None:
    id = await door.create()
    await door.call("POST", f"/containers/{id}/start")
    _, made, _ = await door.call("POST", "/containers/create", {"Image": "busybox"})
    status, value, _ = await door.call("POST", "/containers/prune")
    assert (status, value) == (200, {"ContainersDeleted": [made["Id"]], "SpaceReclaimed": 100})
    assert [r.id for r in door.runtime.containers.list()] == [id]


@pytest.mark.parametrize("until", ["0", "", "9999999h", "1960-01-01"])
async def test_a_prune_until_before_all_takes_nothing(door: DoorUnderTest, until: str) -> None:
    """It was taken for no bound at all."""
    id = await door.create()
    filters = json.dumps({"until": [until]})
    _, value, _ = await door.call("POST", f"/containers/prune?filters={filters}")
    assert value["ContainersDeleted"] is None
    assert [r.id for r in door.runtime.containers.list()] == [id]


@pytest.mark.parametrize(
    ("query", "bounds"),
    [
        ("since=0&until=0", (0, 0)),
        ("since=-7&until=-7", (0, 1)),
        ("since=9999999h&until=9999999h", (0, 1)),
    ],
)
async def test_log_bounds_before_1970(
    door: DoorUnderTest, query: str, bounds: tuple[int, int]
) -> None:
    id = await door.create()
    await logs(door, f"/containers/{id}/logs?stdout=1&{query}")
    asked = door.runtime.containers.log_query
    assert asked is not None
    assert (asked.since_ns, asked.until_ns) == bounds


async def test_what_a_kill_says_of_nobody(door: DoorUnderTest) -> None:
    status, value, _ = await door.call("POST", "/containers/nope/kill")
    assert (status, value["message"]) == (
        404,
        "cannot kill container: nope: No such container: nope",
    )


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "stats?one-shot=1", "cannot have stream=true and one-shot=true"),
        ("POST", "start?checkpoint=x", "checkpoint is only supported in experimental mode"),
        ("POST", "stop?t=1_0", """invalid value for 't': "1_0": invalid syntax"""),
        ("POST", "stop?t=٣", """invalid value for 't': "٣": invalid syntax"""),
        ("POST", "stop?t=9223372036854775808", "value out of range"),
        ("POST", f"resize?h=1&w={'9' * 5000}", "value out of range"),
    ],
)
async def test_parameters_refused(door: DoorUnderTest, method: str, path: str, words: str) -> None:
    await door.create()
    status, value, _ = await door.call(method, f"/containers/web/{path}")
    assert status == 400
    assert words in value["message"]


async def test_a_tail_beyond_all_bounds_is_all(door: DoorUnderTest) -> None:
    id = await door.create()
    for tail, lines in (("9" * 5000, -1), ("-1", -1), ("all", -1), ("0", 0), ("7", 7)):
        await logs(door, f"/containers/{id}/logs?stdout=1&tail={tail}")
        asked = door.runtime.containers.log_query
        assert asked is not None
        assert asked.tail == lines


async def test_no_exposed_port_spoils_the_list(door: DoorUnderTest) -> None:
    """Nobody checks them, neither a client's nor an image's: dockerd does not either."""
    ports = ("99999/tcp", f"{'9' * 5000}/tcp", "a", "1/icmp", "80/tcp")
    id = await door.create(ExposedPorts={port: {} for port in ports})
    await door.call("POST", f"/containers/{id}/start")
    status, listed, _ = await door.call("GET", "/containers/json")
    assert (status, listed[0]["Ports"]) == (200, [{"PrivatePort": 80, "Type": "tcp"}])
    assert (await door.call("GET", f"/containers/{id}/json"))[0] == 200


async def test_stats_of_a_stopped_container_are_empty(door: DoorUnderTest) -> None:
    id = await door.create()
    status, value, _ = await door.call("GET", f"/containers/{id}/stats?stream=0&one-shot=1")
    assert status == 200
    assert value["memory_stats"] == {}
    assert value["read"] == "0001-01-01T00:00:00Z"


async def test_pods_containers_are_not_dockers(door: DoorUnderTest) -> None:
    id = await door.create()
    record = door.runtime.containers.by_id(id)
    door.runtime.containers.put(replace(record, sandbox_id="s" * 64))  # type: ignore[arg-type]
    assert (await door.call("GET", "/containers/json?all=1"))[1] == []


async def test_auth_header_of_pull(door: DoorUnderTest) -> None:
    header = base64.urlsafe_b64encode(b'{"username":"u","password":"p>?"}').decode().rstrip("=")
    status, _, _ = await door.call(
        "POST",
        "/images/create?fromImage=busybox&tag=1.35&platform=linux/arm64",
        **{"X-Registry-Auth": header},
    )
    assert status == 200
    assert door.runtime.images.pulled is not None
    name, credentials, platform = door.runtime.images.pulled
    assert name == "docker.io/library/busybox:1.35"
    assert (credentials.username, credentials.password) == ("u", "p>?")
    assert platform == "linux/arm64"
    # As dockerd has it: what is malformed counts as no credentials at all.
    for malformed in (
        "%%%",
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b'{"username":5}').decode(),
    ):
        status, _, _ = await door.call(
            "POST", "/images/create?fromImage=busybox&tag=1", **{"X-Registry-Auth": malformed}
        )
        assert status == 200
        assert door.runtime.images.pulled[1] is None
