"""Registries that answer what they should not."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from sharedrt.drivers.registry import HttpRegistry
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import InvalidArgument, ResourceExhausted, Unavailable


@pytest.fixture
async def client() -> AsyncIterator[HttpRegistry]:
    registry = HttpRegistry()
    yield registry
    await registry.aclose()


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """A host that answers everything so; its ``host:port``."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_no_list_of_tags_fills_the_memory(client: HttpRegistry) -> None:
    """Neither one answer, nor many that each name a next one."""
    page = json.dumps({"tags": ["a" * (1 << 20)]})
    asked = 0

    async def endless(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(text=page, headers={"Link": f'<?last={asked}>; rel="next"'})

    async def long(request: web.Request) -> web.Response:
        return web.Response(text=page + " " * (17 << 20))

    for handler in (endless, long):
        async with serving(handler) as host:
            with pytest.raises(ResourceExhausted):
                await client.repository(host, "app", None).tags()
    assert asked == 16


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"tags": 5}', "\xff"])
async def test_what_is_no_list_of_tags(client: HttpRegistry, text: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=text)

    async with serving(handler) as host:
        with pytest.raises(Unavailable, match="no list of tags"):
            await client.repository(host, "app", None).tags()


async def test_a_token_may_last_as_long_as_it_says(client: HttpRegistry) -> None:
    """A life beyond all numbers was a bug of ours."""

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"token": "t", "expires_in": 10**400})
        if request.headers.get("Authorization") == "Bearer t":
            return web.json_response({"tags": ["1"]})
        realm = f'Bearer realm="http://{request.host}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    async with serving(handler) as host:
        assert await client.repository(host, "app", None).tags() == ["1"]


async def test_an_address_that_is_none(client: HttpRegistry) -> None:
    with pytest.raises(InvalidArgument, match="server address"):
        await client.login(Credentials("u", "p", server_address="http://[x"))
