"""Files from HTTP servers, and the networks that nothing comes from."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from sharedrt.drivers.download import HttpDownloader, parse_networks
from sharedrt.model.faults import (
    AnyFault,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

DATA = b"x" * 300_000


async def _file(request: web.Request) -> web.Response:
    headers = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    return web.Response(body=DATA, content_type="application/x-tar", headers=headers)


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"x" * 10)
    assert request.transport is not None
    request.transport.abort()
    return response


async def _stall(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"x")
    await asyncio.Event().wait()
    return response


async def _status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]))


async def _away(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": request.query["to"]})


async def _circle(request: web.Request) -> web.Response:
    raise web.HTTPFound("/circle")


async def _told(request: web.Request) -> web.Response:
    return web.Response(text=str(request.headers.get("Authorization")))


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """Its URL, by the address 127.0.0.2, which loopback has too."""
    app = web.Application()
    app.router.add_get("/file", _file)
    app.router.add_get("/cut", _cut)
    app.router.add_get("/stall", _stall)
    app.router.add_get("/status/{code}", _status)
    app.router.add_get("/away", _away)
    app.router.add_get("/circle", _circle)
    app.router.add_get("/told", _told)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0)
    await site.start()
    yield f"http://127.0.0.2:{runner.addresses[0][1]}"
    await runner.cleanup()


async def get(downloader: HttpDownloader, url: str) -> bytes:
    async with downloader.open(url) as download:
        return b"".join([chunk async for chunk in download.chunks])


async def test_what_comes_and_what_is_known_of_it(server: str, tmp_path: Path) -> None:
    downloader = HttpDownloader()
    async with downloader.open(f"{server}/away?to=/file") as download:
        assert (download.size_bytes, download.content_type) == (len(DATA), "application/x-tar")
        assert b"".join([chunk async for chunk in download.chunks]) == DATA
    fetched = await downloader.fetch(f"{server}/file", tmp_path / "f", limit_bytes=len(DATA))
    assert fetched.size_bytes == len(DATA)
    assert (tmp_path / "f").stat().st_mtime == 1445412480
    with pytest.raises(ResourceExhausted):
        await downloader.fetch(f"{server}/file", tmp_path / "g", limit_bytes=len(DATA) - 1)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("status/404", NotFound),
        ("status/400", InvalidArgument),
        ("status/401", Unauthenticated),
        ("status/403", PermissionDenied),
        ("status/500", Unavailable),
        ("cut", Unavailable),
        ("stall", Unavailable),
    ],
)
async def test_what_goes_wrong(server: str, path: str, fault: type[AnyFault]) -> None:
    with pytest.raises(fault):
        await get(HttpDownloader(stall_timeout_s=0.2), f"{server}/{path}")


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "file:///etc/passwd", "http://", "x", "http://[x/y", "http://h:port/"]
)
async def test_other_urls(url: str) -> None:
    with pytest.raises(InvalidArgument):
        await get(HttpDownloader(), url)


async def test_redirects_have_a_bound_and_lead_to_http_alone(server: str) -> None:
    for away in (f"{server}/away?to=ftp://h/x", f"{server}/circle", f"{server}/away?to=http://["):
        with pytest.raises(Unavailable, match="redirects"):
            await get(HttpDownloader(), away)


async def test_roots_passwords_are_not_sent(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may build would have read with them, in root's name."""
    (tmp_path / "netrc").write_text("machine 127.0.0.2 login root password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert await get(HttpDownloader(), f"{server}/told") == b"None"


async def test_the_proxy_of_the_environment(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server)
    assert await get(HttpDownloader(), "http://nowhere.invalid/file") == DATA
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    with pytest.raises(Unavailable):
        await get(HttpDownloader(), "http://nowhere.invalid/file")


async def test_denied_networks(server: str) -> None:
    """By address, by name, by a redirect, by the other ways to write an address."""
    port = server.rpartition(":")[2]
    denied = parse_networks(["127.0.0.1/32", "::1/128", "10.0.0.0/8"], "key")
    downloader = HttpDownloader(denied=denied)
    assert await get(downloader, f"{server}/file") == DATA, "others are open"
    assert await get(HttpDownloader(), f"http://localhost:{port}/file") == DATA
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "[::]"):
        with pytest.raises(PermissionDenied):
            await get(downloader, f"http://{host}:{port}/file")
    with pytest.raises(PermissionDenied):
        await get(downloader, f"{server}/away?to=http://127.0.0.1:{port}/file")


def test_networks_of_the_configuration() -> None:
    with pytest.raises(InvalidArgument, match=r"downloads\.denied_networks"):
        parse_networks(["10.0.0.1/8"], "downloads.denied_networks")
