"""The admin application over fake services, and a client for it."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sharedrt.edges.admin import AdminDoor
from sharedrt.model.findings import Finding, Level
from tests.edges.containerd.fakes import FakeRuntime

FINDINGS = (
    Finding("conmon", Level.ERROR, "not found: nothing can run", "apt-get install conmon"),
    Finding("kernel", Level.OK, "6.1"),
)


class Switches:
    """What the daemon around the door says."""

    not_ready = ""


@pytest.fixture
def switches() -> Switches:
    return Switches()


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def door(runtime: Any, switches: Switches) -> AdminDoor:
    async def check() -> Sequence[Finding]:
        return FINDINGS

    return AdminDoor(runtime, check=check, ready=lambda: switches.not_ready)


@pytest.fixture
async def admin(door: AdminDoor) -> AsyncIterator["TestClient[Any, Any]"]:
    async with TestClient(TestServer(door.app())) as client:
        yield client
