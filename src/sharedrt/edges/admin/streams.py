"""Answers of one JSON object a line: written as things happen, never faster than the client reads."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from aiohttp import web

from sharedrt.edges.admin.errors import bug_body, error_body
from sharedrt.model.faults import Fault

log = structlog.get_logger(__name__)

_FLUSH_S: Final = 0.1


class Lines:
    """An ndjson response under way."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response

    async def send(self, value: Mapping[str, Any]) -> None:
        await self._response.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")


@asynccontextmanager
async def lines(request: web.Request) -> AsyncIterator[tuple[web.StreamResponse, Lines]]:
    """Begin the answer. What fails inside becomes its last line, since the status has been sent by then."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    sink = Lines(response)
    try:
        yield response, sink
    except Fault as fault:
        log.info("request failed", path=request.path, error=str(fault))
        await sink.send(error_body(fault))
    except ConnectionError:
        log.debug("the client is gone", path=request.path)
        raise
    except Exception:
        log.exception("bug in a request", path=request.path)
        await sink.send(bug_body())
    await response.write_eof()


class ProgressLines:
    """Keeps the newest progress of each part and writes it out a few times a second.

    A pull of many layers reports far more often than anybody can look; what is unwritten is bounded by the number
    of its parts.
    """

    def __init__(self, sink: Lines) -> None:
        self._sink = sink
        self._newest: dict[str, Mapping[str, Any]] = {}

    def put(self, id: str, value: Mapping[str, Any]) -> None:
        self._newest[id] = value

    async def flush(self) -> None:
        newest, self._newest = self._newest, {}
        for value in newest.values():
            await self._sink.send({"progress": value})

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while the block runs; all is written when it has ended well."""
        # No TaskGroup: the block's own fault must come out as it is.
        writer = asyncio.get_running_loop().create_task(self._write_on())
        try:
            yield
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        await self.flush()

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            await self.flush()
