"""A proxy before a registry that misbehaves as told: cuts, delays, refuses, lies."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web


@dataclass
class Rule:
    """What happens to requests whose ``METHOD /path`` fits ``pattern``, so many times.

    Exactly one of: ``cut_after`` bytes of the body the connection breaks; ``truncate_to`` so many bytes it ends
    in good order; ``status`` (with ``headers`` and ``body``) instead of an answer; ``stall_after`` so many bytes
    nothing comes any more; ``replace`` the body; ``pace_s`` seconds lie between its ten pieces.
    """

    pattern: str
    times: int = 1
    cut_after: int | None = None
    truncate_to: int | None = None
    stall_after: int | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    replace: bytes | None = None
    pace_s: float = 0.0


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    query: Mapping[str, str]
    range: str
    authorization: str


class FlakyProxy:
    """Made by :func:`flaky_proxy`; ``seen`` are the requests in their order."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream, self._session = upstream, session
        self.rules: list[Rule] = []
        self.seen: list[Seen] = []
        self.authority = ""
        self.concurrent_blobs = 0
        self.most_concurrent_blobs = 0
        self.blob_delay_s = 0.0

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, f"{s.method} {s.path}")) for s in self.seen)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(
            Seen(
                request.method,
                request.path,
                dict(request.query),
                request.headers.get("Range", ""),
                request.headers.get("Authorization", ""),
            )
        )
        line = f"{request.method} {request.path}"
        rule = next((r for r in self.rules if r.times > 0 and re.search(r.pattern, line)), None)
        if rule is not None:
            rule.times -= 1
            if rule.status is not None:
                return web.Response(status=rule.status, headers=rule.headers, body=rule.body)
        is_blob = request.method == "GET" and "/blobs/sha256" in request.path
        self.concurrent_blobs += is_blob
        self.most_concurrent_blobs = max(self.most_concurrent_blobs, self.concurrent_blobs)
        try:
            if is_blob:
                await asyncio.sleep(self.blob_delay_s)
            return await self._forward(request, rule)
        finally:
            self.concurrent_blobs -= is_blob

    async def _forward(self, request: web.Request, rule: Rule | None) -> web.StreamResponse:
        kept = {k: v for k, v in request.headers.items() if k not in ("Host", "Transfer-Encoding")}
        async with self._session.request(
            request.method,
            f"{self._upstream}{request.path_qs}",
            headers=kept,
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as answer:
            headers = dict(answer.headers)
            body = await answer.read() if request.method != "HEAD" else b""
        if rule is not None and rule.replace is not None:
            body = rule.replace
            headers["Content-Length"] = str(len(body))
        if rule is not None and rule.truncate_to is not None:
            body = body[: rule.truncate_to]
            headers["Content-Length"] = str(len(body))
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        if rule is not None and rule.cut_after is not None:
            await response.write(body[: rule.cut_after])
            assert request.transport is not None
            request.transport.close()
            return response
        if rule is not None and rule.stall_after is not None:
            await response.write(body[: rule.stall_after])
            await asyncio.sleep(30)
        if rule is not None and rule.pace_s:
            piece = len(body) // 10 + 1
            for at in range(0, len(body), piece):
                await response.write(body[at : at + piece])
                await asyncio.sleep(rule.pace_s)
        elif body:
            await response.write(body)
        await response.write_eof()
        return response


@asynccontextmanager
async def flaky_proxy(upstream: str) -> AsyncIterator[FlakyProxy]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        proxy = FlakyProxy(upstream, session)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{tail:.*}", proxy.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        proxy.authority = f"{host}:{port}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
