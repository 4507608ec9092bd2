"""A door over a real unix socket, with a fake runtime behind it."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import uvloop

from sharedrt.edges.docker import DockerSettings, make_docker_app, serve
from sharedrt.services.contracts import NamespacedRuntime
from tests.edges.docker.fakes import HOST, FakeRuntime


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Half-close and pausing are each loop's own: hijacked connections are tried on both."""
    factories = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return factories if "hijack" in item.nodeid else {"uvloop": factories["uvloop"]}


async def until(check: Callable[[], bool]) -> None:
    """Let the loop run until ``check()`` holds (fails by the test's time limit)."""
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110 - a fake has no event to wait for
            await asyncio.sleep(0.001)


@dataclass
class DoorUnderTest:
    runtime: FakeRuntime
    path: Path
    http: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON or text, headers)."""
        async with self.http.request(
            method, f"http://docker{path}", json=body, headers=headers
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            value = json.loads(text) if is_json else text
            return response.status, value, dict(response.headers)

    async def create(self, **config: Any) -> str:
        status, value, _ = await self.call(
            "POST", "/containers/create?name=web", {"Image": "busybox", **config}
        )
        assert status == 201, value
        return str(value["Id"])

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection."""
        return await asyncio.open_unix_connection(str(self.path))


@pytest.fixture
async def door() -> AsyncIterator[DoorUnderTest]:
    async with open_door(DockerSettings()) as opened:
        yield opened


@asynccontextmanager
async def open_door(settings: DockerSettings) -> AsyncIterator[DoorUnderTest]:
    runtime = FakeRuntime()
    app = make_docker_app(cast(NamespacedRuntime, runtime), HOST, settings)
    with tempfile.TemporaryDirectory(prefix="srt-door-") as folder:
        path = Path(folder, "docker.sock")
        server = await serve(app, unix=path)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http:
            yield DoorUnderTest(runtime, path, http)
        await server.close()
