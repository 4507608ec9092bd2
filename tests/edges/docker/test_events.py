"""Events: selection and shape."""

import json
from typing import Any

import pytest

from sharedrt.edges.docker.events import passes
from sharedrt.model.records import EventRecord
from sharedrt.wire.docker_filters import parse_filters
from tests.edges.docker.conftest import DoorUnderTest

START = EventRecord(
    1,
    5_000_000_001,
    "container",
    "start",
    "c" * 64,
    {"name": "web", "image": "busybox:1", "l": "1"},
)
EXEC = EventRecord(2, 6 * 10**9, "container", "exec_start: sh -c", "c" * 64, {"name": "web"})
PULL = EventRecord(3, 7 * 10**9, "image", "pull", "busybox:1", {"name": "busybox"})
POD = EventRecord(4, 8 * 10**9, "sandbox", "create", "s" * 64)


@pytest.mark.parametrize(
    ("filters", "passed"),
    [
        ({}, [START, EXEC, PULL]),
        ({"type": ["container"]}, [START, EXEC]),
        ({"event": ["start"]}, [START]),
        ({"event": ["exec_start"]}, [EXEC]),
        ({"container": ["web"]}, [START, EXEC]),
        ({"container": ["/web"]}, [START, EXEC]),
        ({"container": ["cccc"]}, [START, EXEC]),
        ({"container": ["other"]}, []),
        ({"container": ["we", "x"]}, [START, EXEC]),
        ({"container": ["eb"]}, []),
        ({"label": ["l=1"]}, [START]),
        ({"image": ["busybox"]}, [START, PULL]),
        ({"image": ["busybox:1"]}, [START, PULL]),
        ({"network": ["bridge"]}, []),
        ({"scope": ["local"]}, [START, EXEC, PULL]),
        ({"scope": ["swarm"]}, []),
        ({"node": ["x"]}, []),
    ],
)
def test_filters(filters: dict[str, Any], passed: list[EventRecord]) -> None:
    parsed = parse_filters(json.dumps(filters))
    assert [e for e in (START, EXEC, PULL) if passes(parsed, e)] == passed


@pytest.mark.parametrize(("version", "told"), [("v1.45", []), ("v1.46", ["create"])])
async def test_images_made_are_told_since_1_46(
    door: DoorUnderTest, version: str, told: list[str]
) -> None:
    door.runtime.events.stored = [EventRecord(1, 5, "image", "create", "sha256:1")]
    async with door.http.get(f"http://docker/{version}/events?until=9") as response:
        lines = (await response.text()).splitlines()
    assert [json.loads(line)["Action"] for line in lines] == told


async def test_stream(door: DoorUnderTest) -> None:
    door.runtime.events.stored = [START, POD, PULL]
    async with door.http.get("http://docker/events?since=1.5&until=9") as response:
        told = [json.loads(line) for line in (await response.text()).splitlines()]
    assert door.runtime.events.bounds == (1_500_000_000, 9_000_000_000)
    assert [event["Action"] for event in told] == ["start", "pull"], "pods are not Docker's"
    assert told[0] == {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "c" * 64, "Attributes": dict(START.attributes)},
        "scope": "local",
        "time": 5,
        "timeNano": 5_000_000_001,
        "status": "start",
        "id": "c" * 64,
        "from": "busybox:1",
    }
    expected: dict[str, tuple[int | None, int | None]] = {
        "": (None, None),
        "since=0": (0, None),
        "until=0": (None, 0),
        "since=99999999999999999999": ((1 << 63) - 1, None),
    }
    for query, bounds in expected.items():
        async with door.http.get(f"http://docker/events?{query}") as response:
            await response.read()
        assert door.runtime.events.bounds == bounds
    for query in ("since=9&until=1", "since=soon", 'filters={"colour":["red"]}'):
        assert (await door.call("GET", f"/events?{query}"))[0] == 400
