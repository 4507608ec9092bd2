"""Searching: a registry's own search, a catalogue, mirrors, and what neither has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sharedrt.drivers.registry import HttpRegistry
from sharedrt.model.drivers import Credentials, FoundRepository
from sharedrt.model.faults import Fault, NotFound, Unauthenticated, Unavailable
from tests.drivers.registry.test_repository import configure
from tests.real.registry import (
    PASSWORD,
    USER,
    RegistryUnderTest,
    TokenServer,
    running_registry,
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[HttpRegistry]:
    registry = HttpRegistry([tmp_path / "certs.d"], stall_timeout_s=3.0)
    yield registry
    await registry.aclose()


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """The authority of an HTTP server on loopback."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def mirror_of_hub(root: Path, authority: str) -> None:
    configure(root, "docker.io", f'[host."http://{authority}"]\ncapabilities = ["pull", "resolve"]')


async def test_a_search_of_its_own(client: HttpRegistry, tmp_path: Path) -> None:
    asked = []

    async def search(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        first = {"name": "busybox", "description": "small", "star_count": 7, "is_official": True}
        return web.json_response({"results": [first, {"name": "a/busybox"}, "?", {"name": "b"}]})

    app = web.Application()
    app.router.add_get("/v1/search", search)
    async with served(app) as authority:
        mirror_of_hub(tmp_path, authority)
        found = await client.search("docker.io", "busy", 3, None)
    assert asked == [{"q": "busy", "n": "3", "ns": "docker.io"}]
    assert found == [
        FoundRepository("busybox", "small", 7, official=True),
        FoundRepository("a/busybox"),
    ]


async def test_pages_of_a_catalogue(client: HttpRegistry, tmp_path: Path) -> None:
    names = ["library/box", "team/box", "other", "library/boxes", "a/b/box"]

    async def catalogue(request: web.Request) -> web.Response:
        at = int(request.query.get("last", "0"))
        headers = {"Link": f'</v2/_catalog?last={at + 2}&n=2>; rel="next"'} if at < 4 else {}
        return web.json_response({"repositories": names[at : at + 2]}, headers=headers)

    app = web.Application()
    app.router.add_get("/v2/_catalog", catalogue)
    async with served(app) as authority:
        mirror_of_hub(tmp_path, authority)
        found = await client.search("docker.io", "BOX", 3, None)
        elsewhere = await client.search(authority, "box", 10, None)
    assert found == [
        FoundRepository("box", official=True),
        FoundRepository("a/b/box"),
        FoundRepository("team/box"),
    ]
    assert FoundRepository("library/boxes") in elsewhere


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (web.HTTPNotFound(), NotFound),
        (web.HTTPServiceUnavailable(), Unavailable),
        (web.HTTPOk(text="<html>", content_type="text/html"), Unavailable),
        (web.HTTPUnauthorized(), Unauthenticated),
    ],
)
async def test_one_that_has_neither(
    client: HttpRegistry, body: web.HTTPException, fault: type[Fault]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=body.status, text=body.text, content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with served(app) as authority:
        with pytest.raises(fault):
            await client.search(authority, "box", 3, None)


@pytest.mark.real
async def test_a_real_registry(client: HttpRegistry, open_registry: RegistryUnderTest) -> None:
    found = await client.search(open_registry.authority, "app", 25, None)
    assert [each.name for each in found] == ["app", "team/deep/app"]
    assert await client.search(open_registry.authority, "nothing", 25, None) == []


@pytest.mark.real
async def test_real_registries_that_want_to_know_who_asks(
    client: HttpRegistry, open_registry: RegistryUnderTest, tmp_path: Path
) -> None:
    storage, someone = open_registry.storage, Credentials(USER, PASSWORD)
    async with running_registry(tmp_path / "basic", storage=storage, basic_auth=True) as basic:
        found = await client.search(basic.authority, "deep", 25, someone)
        assert [each.name for each in found] == ["team/deep/app"]
        with pytest.raises(Unauthenticated):
            await client.search(basic.authority, "deep", 25, None)
    tokens = TokenServer(tmp_path, anonymous_pull=True)
    async with (
        tokens.running(),
        running_registry(tmp_path / "token", storage=storage, tokens=tokens) as closed,
    ):
        found = await client.search(closed.authority, "deep", 25, someone)
        assert [each.name for each in found] == ["team/deep/app"]
    assert ("GET", ("registry:catalog:*",), USER) in tokens.grants
