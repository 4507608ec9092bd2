"""The admin API: listings, probes, changes, streams, refusals."""

import asyncio
import json
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient
from prometheus_client.parser import text_string_to_metric_families

from sharedrt.edges.admin import AdminDoor
from sharedrt.edges.admin.errors import status_of
from sharedrt.model.faults import (
    AnyFault,
    FailedPrecondition,
    Internal,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from sharedrt.model.ids import ContainerId, Digest, Namespace, SandboxId
from sharedrt.model.records import (
    BlobRecord,
    ContainerRecord,
    ContainerState,
    EventRecord,
    SandboxRecord,
    SandboxSpec,
    SandboxState,
)
from sharedrt.model.spec import ContainerSpec
from sharedrt.services.images.image import PullPhase, PullProgress
from tests.edges.admin.conftest import Switches
from tests.edges.containerd.fakes import FakeRuntime

Client = TestClient[Any, Any]
K8S, MOBY = Namespace("k8s.io"), Namespace("moby")


def container(id: str, **more: Any) -> ContainerRecord:
    fields: dict[str, Any] = {
        "id": ContainerId(id),
        "name": f"name-{id}",
        "image_reference": "busybox",
        "image_id": Digest("sha256:1"),
        "spec": ContainerSpec(),
        "state": ContainerState.RUNNING,
        "pid": 42,
    }
    return ContainerRecord(**{**fields, **more})


@pytest.fixture
def filled(runtime: FakeRuntime) -> FakeRuntime:
    k8s, moby = runtime.within(K8S), runtime.within(MOBY)
    k8s.containers.add(container("k1", sandbox_id=SandboxId("p1")))
    moby.containers.add(container("m1", paused=True))
    moby.containers.add(container("m2", state=ContainerState.EXITED, exit_code=3))
    k8s.pods.records["p1"] = SandboxRecord(
        SandboxId("p1"),
        "pod",
        "uid",
        "default",
        0,
        SandboxSpec(),
        state=SandboxState.READY,
        addresses=("10.0.0.2",),
    )
    moby.content.records["sha256:9"] = BlobRecord(Digest("sha256:9"), 7)
    return runtime


async def items(admin: Client, path: str) -> list[dict[str, Any]]:
    response = await admin.get(path)
    assert response.status == 200, await response.text()
    found: list[dict[str, Any]] = (await response.json())["items"]
    return found


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, str, str]:
    error = (await response.json())["error"]
    return response.status, error["code"], error["message"]


async def test_probes(admin: Client, switches: Switches) -> None:
    assert await (await admin.get("/healthz")).text() == "ok\n"
    assert (await admin.get("/readyz")).status == 200
    switches.not_ready = "recovering"
    response = await admin.get("/readyz")
    assert (response.status, await response.text()) == (503, "recovering\n")


async def test_health_needs_the_database(
    admin: Client, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> list[Any]:
        raise Internal("database", "disk I/O error")

    monkeypatch.setattr(runtime.all_namespaces, "list", broken)
    response = await admin.get("/healthz")
    assert (response.status, await response.text()) == (503, "database: disk I/O error\n")


async def test_containers_of_all_namespaces_or_one(admin: Client, filled: FakeRuntime) -> None:
    found = await items(admin, "/v1/containers")
    assert [(c["namespace"], c["id"], c["state"]) for c in found] == [
        ("k8s.io", "k1", "running"),
        ("moby", "m1", "paused"),
        ("moby", "m2", "exited"),
    ]
    assert found[2]["exit_code"] == 3
    one = await items(admin, "/v1/containers?namespace=k8s.io")
    assert [c["id"] for c in one] == ["k1"]
    assert await items(admin, "/v1/containers?namespace=nobody") == []
    response = await admin.get("/v1/containers?namespace=..%2F")
    assert (await refusal(response))[:2] == (400, "InvalidArgument")


async def test_other_listings(admin: Client, filled: FakeRuntime) -> None:
    [pod] = await items(admin, "/v1/pods")
    assert (pod["namespace"], pod["name"], pod["state"], pod["addresses"]) == (
        "k8s.io",
        "pod",
        "ready",
        ["10.0.0.2"],
    )
    [blob] = await items(admin, "/v1/content")
    assert (blob["namespace"], blob["digest"], blob["size_bytes"]) == ("moby", "sha256:9", 7)
    assert await items(admin, "/v1/images") == []
    namespaces = {n["name"]: n for n in await items(admin, "/v1/namespaces")}
    assert namespaces["moby"]["containers"] == 2
    assert namespaces["k8s.io"]["pods"] == 1
    findings = await items(admin, "/v1/check")
    assert findings[0]["cure"] == "apt-get install conmon"
    version = await (await admin.get("/v1/version")).json()
    assert version["version"] == "0.1.0"


async def test_namespaces_are_made_and_removed(admin: Client, runtime: FakeRuntime) -> None:
    response = await admin.post("/v1/namespaces/team", json={"labels": {"a": "b"}})
    assert response.status == 201
    assert (await response.json())["labels"] == {"a": "b"}
    again = await admin.post("/v1/namespaces/team")
    assert (await refusal(again))[:2] == (409, "AlreadyExists")
    assert (await admin.delete("/v1/namespaces/team")).status == 200
    assert (await refusal(await admin.delete("/v1/namespaces/team")))[0] == 404
    ours = await refusal(await admin.delete("/v1/namespaces/moby"))
    assert ours[0] == 409


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"labels": 1}', b'{"labels": {"a": 1}}'])
async def test_malformed_bodies(admin: Client, body: bytes) -> None:
    response = await admin.post("/v1/namespaces/x", data=body)
    assert (await refusal(response))[:2] == (400, "InvalidArgument")


async def test_unknown_paths_and_bugs(
    admin: Client, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await refusal(await admin.get("/v2/x")))[0] == 404
    assert (await refusal(await admin.put("/v1/containers")))[0] == 405

    def bug() -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(runtime.all_namespaces, "names", bug)
    status, _, message = await refusal(await admin.get("/v1/containers"))
    assert status == 500
    assert "secret" not in message


async def lines(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in response.content]


async def test_pull(admin: Client, runtime: FakeRuntime) -> None:
    images = runtime.within(MOBY).images
    images.steps = [
        PullProgress("sha256:a", PullPhase.DOWNLOADING, 1, 10),
        PullProgress("sha256:a", PullPhase.DOWNLOADING, 5, 10),
        PullProgress("sha256:b", PullPhase.PULL_COMPLETE),
    ]
    body = {"namespace": "moby", "reference": "docker.io/library/x:1"}
    response = await admin.post("/v1/images/pull", json=body)
    *progress, last = await lines(response)
    assert [p["progress"]["id"] for p in progress] == ["sha256:a", "sha256:b"]
    assert progress[0]["progress"]["current"] == 5, "only the newest of each layer"
    assert last["images"][0]["references"] == ["docker.io/library/x:1"]
    assert images.pulled == [("docker.io/library/x:1", None)]
    assert await items(admin, "/v1/images?namespace=k8s.io") == []


async def test_a_failed_pull_says_so_in_its_last_line(admin: Client, runtime: FakeRuntime) -> None:
    images = runtime.within(MOBY).images
    images.steps = [PullProgress("sha256:a", PullPhase.DOWNLOADING, 1, 10)]
    images.failure = Unavailable("registry example.org", "connection refused")
    body = {"namespace": "moby", "reference": "example.org/x"}
    response = await admin.post("/v1/images/pull", json=body)
    found = await lines(response)
    assert found[-1]["error"] == {
        "code": "Unavailable",
        "message": "registry example.org: connection refused",
    }


async def test_a_bug_during_a_pull_ends_the_answer_too(
    admin: Client, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(runtime.within(MOBY).images, "pull", bug)
    response = await admin.post("/v1/images/pull", json={"namespace": "moby", "reference": "x"})
    [last] = await lines(response)
    assert last["error"]["code"] == "Internal"
    assert "secret" not in last["error"]["message"]


@pytest.mark.parametrize("body", [{"namespace": "moby"}, {"reference": "x"}, {"reference": 1}])
async def test_incomplete_pulls(admin: Client, body: dict[str, Any]) -> None:
    assert (await refusal(await admin.post("/v1/images/pull", json=body)))[0] == 400


async def test_import_reads_the_body_as_it_comes(admin: Client, runtime: FakeRuntime) -> None:
    data = b"x" * (3 << 20)

    async def body() -> Any:
        for start in range(0, len(data), 1 << 16):
            yield data[start : start + (1 << 16)]

    response = await admin.post("/v1/images/import?namespace=moby", data=body())
    found = await lines(response)
    assert found[-1]["images"][0]["references"] == ["docker.io/library/loaded:latest"]
    assert runtime.within(MOBY).images.archives == [data]
    response = await admin.post("/v1/images/import", data=b"x")
    assert (await refusal(response))[0] == 400


async def test_removal(admin: Client, runtime: FakeRuntime) -> None:
    await admin.post("/v1/images/pull", json={"namespace": "moby", "reference": "x:1"})
    [image] = await items(admin, "/v1/images")
    users = runtime.within(MOBY).containers
    users.add(container("user", image_id=Digest(image["id"])))
    path = "/v1/images?namespace=moby&reference=x:1"
    assert (await refusal(await admin.delete(path)))[:2] == (409, "InUse")
    users.records.clear()
    removed = await (await admin.delete(path)).json()
    assert [r["untagged"] or r["deleted"] for r in removed["items"]] == ["x:1", image["id"]]
    assert (await refusal(await admin.delete(path)))[0] == 404


async def test_events_of_all_and_of_one(admin: Client, runtime: FakeRuntime) -> None:
    async with admin.get("/v1/events") as response:
        runtime.all_namespaces.tell(
            "moby", EventRecord(1, 5, "container", "start", "m1", {"name": "x"})
        )
        event = json.loads(await response.content.readline())
    assert event == {
        "namespace": "moby",
        "time_ns": 5,
        "kind": "container",
        "action": "start",
        "actor": "m1",
        "attributes": {"name": "x"},
    }
    events = runtime.within(K8S).events
    events.stored.append(EventRecord(1, 3, "sandbox", "ready", "p1"))
    async with admin.get("/v1/events?namespace=k8s.io&since_ns=1") as response:
        assert json.loads(await response.content.readline())["actor"] == "p1"
    assert events.since == [1]
    assert (await refusal(await admin.get("/v1/events?since_ns=1")))[0] == 400
    assert (await refusal(await admin.get("/v1/events?namespace=x&since_ns=-1")))[0] == 400


async def test_stop_all(admin: Client, filled: FakeRuntime) -> None:
    response = await admin.post("/v1/stop-all")
    assert response.status == 200
    stopped = (await response.json())["stopped"]
    assert [(s["kind"], s["id"]) for s in stopped] == [("pod", "p1"), ("container", "m1")]
    assert filled.within(K8S).pods.stopped == ["p1"]
    assert filled.within(MOBY).containers.by_id("m1").state is ContainerState.EXITED


async def test_stop_all_tells_what_does_not_stop(admin: Client, filled: FakeRuntime) -> None:
    filled.within(K8S).pods.failure = FailedPrecondition("sandbox", "p1", "is stuck")
    response = await admin.post("/v1/stop-all")
    reply = await response.json()
    assert response.status == 500
    assert [(f["id"], f["error"]) for f in reply["failed"]] == [("p1", "sandbox 'p1': is stuck")]
    assert [s["id"] for s in reply["stopped"]] == ["m1"]


async def test_metrics(admin: Client, filled: FakeRuntime) -> None:
    await admin.get("/v1/pods")
    response = await admin.get("/metrics")
    assert response.content_type == "text/plain"
    families = {f.name: f for f in text_string_to_metric_families(await response.text())}
    states = {
        (s.labels["namespace"], s.labels["state"]): s.value
        for s in families["sharedrt_containers"].samples
    }
    assert states == {
        ("k8s.io", "running"): 1,
        ("moby", "paused"): 1,
        ("moby", "exited"): 1,
    }
    requests = families["sharedrt_http_requests"].samples
    assert any(s.labels["route"] == "/v1/pods" and s.labels["status"] == "200" for s in requests)
    durations = families["sharedrt_http_request_seconds"].samples
    pods = [s for s in durations if s.labels.get("route") == "/v1/pods"]
    counts = [s.value for s in pods if s.name.endswith("_bucket")]
    assert counts == sorted(counts), "buckets are cumulative"
    assert counts[-1] == next(s.value for s in pods if s.name.endswith("_count"))
    assert "process_resident_memory_bytes" in families


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (NotFound("image", "x"), 404),
        (ResourceExhausted("disk", "full"), 507),
        (Unavailable("x", "y"), 502),
    ],
)
def test_statuses(fault: AnyFault, status: int) -> None:
    assert status_of(fault) == status


async def test_the_socket_is_roots_alone(door: AdminDoor) -> None:
    with tempfile.TemporaryDirectory(prefix="srt-") as folder:
        path = Path(folder, "admin.sock")
        async with door.listening(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600  # noqa: ASYNC240
            connector = aiohttp.UnixConnector(str(path))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://admin/healthz") as response,
            ):
                assert response.status == 200
        assert not path.exists()  # noqa: ASYNC240


async def test_an_event_stream_does_not_hold_up_the_stop(
    door: AdminDoor, runtime: FakeRuntime
) -> None:
    with tempfile.TemporaryDirectory(prefix="srt-") as folder:
        path = Path(folder, "admin.sock")
        client = socket.socket(socket.AF_UNIX)
        async with asyncio.timeout(60):
            async with door.listening(path):
                await asyncio.get_running_loop().sock_connect(client, str(path))
                client.setblocking(False)
                await asyncio.get_running_loop().sock_sendall(
                    client, b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"
                )
                await asyncio.get_running_loop().sock_recv(client, 100)
            assert runtime.all_namespaces.queues == []
        client.close()
