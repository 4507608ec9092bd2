"""``POST /build``: what the query becomes, and how output and failures go out."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import ResourceExhausted, Unauthenticated
from sharedrt.model.ids import Digest
from sharedrt.services.builds import (
    BuildFailed,
    BuildRequest,
    BuildText,
    CacheEntry,
    ImageBuilt,
    PullFailed,
)
from sharedrt.services.builds.events import PullStep, Tell
from sharedrt.services.images import PullPhase, PullProgress
from tests.edges.docker.conftest import DoorUnderTest

ID = Digest("sha256:" + "a" * 64)


class _Image:
    id = ID


class ScriptedBuilds:
    """Says what the test wants, then ends as it wants."""

    def __init__(self) -> None:
        self.request: BuildRequest | None = None
        self.events: list[Any] = []
        self.error: Exception | None = None
        self.context = b""
        self.cache = self
        self.kept: list[CacheEntry] = []
        self.pruned: list[str] = []

    async def build(self, request: BuildRequest, context: AsyncIterator[bytes], tell: Tell) -> Any:
        self.request = request
        async for chunk in context:
            self.context += chunk
        for event in self.events:
            await tell(event)
        if self.error is not None:
            raise self.error
        return _Image()

    async def entries(self) -> list[CacheEntry]:
        return self.kept

    async def prune(self, choose: Any, *, keep_bytes: int = 0) -> tuple[list[str], int]:
        self.pruned = [entry.id for entry in self.kept if choose(entry)]
        return self.pruned, keep_bytes


@pytest.fixture
def builds(door: DoorUnderTest) -> ScriptedBuilds:
    fake = ScriptedBuilds()
    door.runtime.builds = cast(Any, fake)
    return fake


async def post(
    door: DoorUnderTest, query: str = "", headers: dict[str, str] | None = None
) -> tuple[int, list[Any]]:
    async with door.http.post(
        f"http://docker/build?{query}", data=b"context", headers=headers or {}
    ) as response:
        return response.status, [json.loads(line) for line in (await response.text()).splitlines()]


async def test_the_query(door: DoorUnderTest, builds: ScriptedBuilds) -> None:
    query = (
        "dockerfile=sub/../D&t=a&t=b:1&t=a&target=T&platform=linux/arm64&nocache=1&pull=1&rm=0&forcerm=1"
        "&buildargs=%7B%22A%22%3A%22b%22%2C%22N%22%3Anull%7D&labels=%7B%22l%22%3A%22m%22%7D"
        "&cachefrom=%5B%22c%22%5D&networkmode=none&extrahosts=h:1.2.3.4&memory=67108864&shmsize=4096"
        '&ulimits=%5B%7B"Name":"nofile","Soft":1,"Hard":2%7D%5D&cpuquota=5000&cgroupparent=../p'
    )
    auth = {
        "https://index.docker.io/v1/": {"username": "u", "password": "p"},
        "r:1": {"auth": "YTpi"},
    }
    header = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
    assert (await post(door, query, {"X-Registry-Config": header}))[0] == 200
    request = builds.request
    assert request is not None
    assert builds.context == b"context"
    assert request.dockerfile == "D"
    assert request.tags == ("docker.io/library/a:latest", "docker.io/library/b:1")
    assert (request.target, request.platform) == ("T", "linux/arm64")
    assert (request.no_cache, request.pull, request.remove, request.force_remove) == (
        True,
        True,
        False,
        True,
    )
    assert request.arguments == {"A": "b", "N": None}
    assert request.labels == {"l": "m"}
    assert request.cache_from == ("c",)
    run = request.run
    assert run.networks == ()
    assert run.extra_hosts == ("h:1.2.3.4",)
    assert run.spec.resources.memory_bytes == 64 << 20
    assert run.spec.resources.cpu_quota_us == 5000
    assert run.spec.shm_size_bytes == 4096
    assert [(limit.name, limit.soft, limit.hard) for limit in run.spec.rlimits] == [
        ("nofile", 1, 2)
    ]
    assert run.spec.cgroup_parent == "/p"
    assert request.credentials("docker.io") == Credentials(username="u", password="p")
    assert request.credentials("r:1") == Credentials(username="a", password="b")
    assert request.credentials("other") is None


async def test_defaults(door: DoorUnderTest, builds: ScriptedBuilds) -> None:
    await post(door)
    request = builds.request
    assert request is not None
    assert request.dockerfile == "Dockerfile"
    assert request.remove
    assert not request.force_remove
    assert not request.allow_insecure
    assert [network.network for network in request.run.networks] == ["bridge"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("version=2", 501),
        ("outputs=x", 501),
        ("remote=client-session", 501),
        ("squash=1", 400),
        ("dockerfile=../x", 400),
        ("t=a@sha256:" + "0" * 64, 400),
        ("t=A%20b", 400),
        ("buildargs=%5B%5D", 400),
        ("buildargs=%7B", 400),
        ("labels=%5B%5D", 400),
        ("memory=x", 400),
        ("networkmode=nosuch", 404),
        ("isolation=hyperv", 400),
    ],
)
async def test_what_is_refused(
    door: DoorUnderTest, builds: ScriptedBuilds, query: str, status: int
) -> None:
    assert (await post(door, query))[0] == status
    assert builds.request is None


async def test_a_bad_header_is_refused(door: DoorUnderTest, builds: ScriptedBuilds) -> None:
    for value in ("%%", base64.b64encode(b"[]").decode(), base64.b64encode(b"{").decode()):
        for name in ("X-Registry-Config", "X-Sharedrt-Build-Secrets"):
            assert (await post(door, "", {name: value}))[0] == 400


async def test_output(door: DoorUnderTest, builds: ScriptedBuilds) -> None:
    pulled = PullProgress("sha256:" + "b" * 64, PullPhase.PULL_COMPLETE)
    builds.events = [
        BuildText("Step 1/1 : FROM a\n"),
        PullStep("docker.io/library/a:1", pulled),
        ImageBuilt(ID),
    ]
    assert await post(door) == (
        200,
        [
            {"stream": "Step 1/1 : FROM a\n"},
            {"status": "Pulling from library/a", "id": "1"},
            {"status": "Pull complete", "progressDetail": {}, "id": "b" * 12},
            {"aux": {"ID": ID}},
        ],
    )
    assert await post(door, "q=1") == (200, [{"stream": f"{ID}\n"}])


async def test_failures(door: DoorUnderTest, builds: ScriptedBuilds) -> None:
    builds.error = BuildFailed("no such instruction", malformed=True)
    assert await post(door) == (400, [{"message": "no such instruction"}])
    denied = PullFailed("docker.io/library/a:1", Unauthenticated("registry", "who are you"))
    builds.error = denied
    status, (message,) = await post(door)
    assert status == 404
    assert "pull access denied for a" in message["message"]
    builds.events = [BuildText("said\n")]
    for error, words, code in (
        (BuildFailed("it failed", 7), "it failed", 7),
        (ResourceExhausted("disk", "is full"), "disk: is full", 0),
        (denied, "pull access denied for a", 0),
    ):
        builds.error = error
        for query in ("", "q=1"):
            status, messages = await post(door, query)
            assert status == 200
            assert messages[0] == {"stream": "said\n"}
            detail = messages[1]["errorDetail"]
            assert words in detail["message"]
            assert messages[1]["error"] == detail["message"]
            assert detail.get("code", 0) == code


def entry(id: str, **facts: Any) -> CacheEntry:
    defaults: dict[str, Any] = {
        "kind": "regular",
        "description": "RUN x",
        "parent": "",
        "size_bytes": 5,
        "created_ns": 10**18,
        "last_used_ns": 10**18,
        "uses": 1,
        "in_use": False,
        "shared": False,
    }
    return CacheEntry(id=id, **{**defaults, **facts})


async def test_the_cache(door: DoorUnderTest, builds: ScriptedBuilds) -> None:
    builds.kept = [
        entry("a", shared=True, parent="z"),
        entry("b", kind="exec.cachemount", last_used_ns=2 * 10**18),
        entry("c", description="COPY y"),
    ]
    status, usage, _ = await door.call("GET", "/system/df?type=build-cache")
    assert status == 200
    assert usage["BuildCache"][0] == {
        "ID": "a",
        "Parents": ["z"],
        "Type": "regular",
        "Description": "RUN x",
        "InUse": False,
        "Shared": True,
        "Size": 5,
        "CreatedAt": "2001-09-09T01:46:40Z",
        "LastUsedAt": "2001-09-09T01:46:40Z",
        "UsageCount": 1,
    }
    for query, removed in (
        ("", ["b", "c"]),
        ("all=1", ["a", "b", "c"]),
        ('all=1&filters={"type":["regular"]}', ["a", "c"]),
        ('all=1&filters={"until":["1h"],"description":["COPY"]}', ["c"]),
        ('all=1&filters={"until":["2010-01-01T00:00:00Z"]}', ["a", "c"]),
        ('all=1&filters={"until":["0"]}', []),
        ('all=1&filters={"shared":["true"]}', ["a"]),
        ('all=1&filters={"id":["b"]}', ["b"]),
        ('all=1&filters={"label":["a"]}', []),
        ('all=1&filters={"label!":["a"]}', ["a", "b", "c"]),
        ('all=1&filters={"inuse":["true"]}', []),
    ):
        status, answer, _ = await door.call("POST", f"/build/prune?{query}")
        assert (status, answer["CachesDeleted"]) == (200, removed), query
    assert (await door.call("POST", "/build/prune?keep-storage=7"))[1]["SpaceReclaimed"] == 7
    assert (await door.call("POST", '/build/prune?filters={"no":["x"]}'))[0] == 400
    assert (await door.call("POST", '/build/prune?filters={"until":["x"]}'))[0] == 400
    assert (await door.call("POST", "/build/prune?min-free-space=7"))[0] == 501
