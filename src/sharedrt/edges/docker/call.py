"""One API call: what the door gives to handlers, and how they read parameters and bodies."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from aiohttp import web

from sharedrt.aio.tasks import TaskOwner
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.json_words import load_json
from sharedrt.edges.docker.links import find_container
from sharedrt.edges.docker.versions import NEWEST, ApiVersion
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.model.records import ContainerRecord
from sharedrt.services.contracts import HostInfo, NamespacedRuntime
from sharedrt.wire.docker_filters import FilterError, Filters, parse_filters

T = TypeVar("T")

MAX_JSON_BYTES: Final = 4 << 20
_NO: Final = ("", "0", "no", "false", "none")


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """What the daemon's configuration says about this door."""

    insecure_registries: tuple[str, ...] = ()
    address_pools: tuple[str, ...] = ()
    """CIDR, for ``/info``."""
    init_binary: str = "catatonit"
    warnings: tuple[str, ...] = ()
    debug: bool = False


class Door:
    """One namespace's Docker door: shared by all its calls."""

    def __init__(
        self, runtime: NamespacedRuntime, host: HostInfo, settings: DockerSettings
    ) -> None:
        self.runtime = runtime
        self.host = host
        self.settings = settings
        self.tasks = TaskOwner(f"docker door of {runtime.namespace}")
        self._streaming: set[asyncio.Task[Any]] = set()
        self.event_listeners = 0

    @property
    def server(self) -> str:
        return f"sharedrt/{self.host.version} ({self.host.go_os})"

    @property
    def headers(self) -> Mapping[str, str]:
        """What every answer carries; clients negotiate by it."""
        return {
            "Api-Version": str(NEWEST),
            "Docker-Experimental": "false",
            "Ostype": self.host.go_os,
            "Server": self.server,
        }

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Marks the current call as one that may last for ever: it is cancelled when the door closes."""
        task = asyncio.current_task()
        assert task is not None
        self._streaming.add(task)
        try:
            yield
        finally:
            self._streaming.discard(task)

    async def end_streams(self) -> None:
        """Cancel calls that wait for something to happen. Others are given their time."""
        for task in list(self._streaming):
            task.cancel()


DOOR: Final = web.AppKey("door", Door)


@dataclass(slots=True)
class Call:
    """A request, its API version and the parameters of its path."""

    request: web.Request
    door: Door
    version: ApiVersion
    params: Mapping[str, str] = field(default_factory=dict)
    begun: web.StreamResponse | None = None
    """An answer whose head is out."""

    @property
    def runtime(self) -> NamespacedRuntime:
        return self.door.runtime

    def container(self) -> ContainerRecord:
        """The container that the path's ``{id}`` names. Raises NotFound, Ambiguous."""
        return find_container(self.runtime.containers, self.params["id"])

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` to its end even if the client goes away meanwhile, as dockerd does."""
        return await self.door.tasks.finish(work, self.request.path)

    # -- parameters

    def text(self, name: str, default: str = "") -> str:
        return self.request.query.get(name, default)

    def texts(self, name: str) -> list[str]:
        return [value for value in self.request.query.getall(name, []) if value]

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's idea of a boolean: everything but a few words is true."""
        value = self.request.query.get(name)
        return default if value is None else value.strip().lower() not in _NO

    def integer(self, name: str) -> int | None:
        """``None`` when it is absent or empty. Raises Refusal (400)."""
        value = self.request.query.get(name, "")
        if not value:
            return None
        try:
            return int(value)
        except ValueError as error:
            raise bad_request(f"invalid value for '{name}': {value!r} is not an integer") from error

    def filters(self, *known: str) -> Filters:
        """The ``filters`` parameter. Raises Refusal (400), also for a filter outside ``known``."""
        try:
            filters = parse_filters(self.text("filters"))
            filters.check(known)
        except FilterError as error:
            raise bad_request(str(error)) from error
        return filters

    # -- bodies

    async def body(self, *, required: bool = True) -> Fields:
        """The JSON object that the request carries.

        Raises:
            Refusal: 400 for no JSON, no object, another content type; 413 beyond the bound.
        """
        raw = await self._read()
        if not raw:
            if required:
                raise bad_request("invalid JSON: got EOF while reading request body")
            return Fields({})
        content_type = self.request.content_type
        if content_type not in ("application/json", "text/json", "application/octet-stream"):
            raise bad_request(
                f"unsupported Content-Type header ({content_type}): must be 'application/json'"
            )
        value = load_json(raw)
        if value is None and not required:
            return Fields({})
        if not isinstance(value, dict):
            raise bad_request("invalid JSON: not an object")
        return Fields(value)

    async def _read(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for chunk in self.request.content.iter_any():
            size += len(chunk)
            if size > MAX_JSON_BYTES:
                raise Refusal(413, f"request body is larger than {MAX_JSON_BYTES} bytes")
            parts.append(chunk)
        return b"".join(parts)

    # -- answers

    @asynccontextmanager
    async def stream(
        self, content_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[web.StreamResponse]:
        """An answer whose head goes out now and whose body comes bit by bit."""
        response = web.StreamResponse(
            status=status, headers={**self.door.headers, **(headers or {})}
        )
        response.content_type = content_type
        with self.door.streaming():
            await response.prepare(self.request)
            self.begun = response
            yield response
            await response.write_eof()


def dump(value: object) -> bytes:
    """A value as compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogateescape"
    )


def answer(value: object, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=dump(value), status=status, content_type="application/json")


def no_content() -> web.Response:
    return web.Response(status=204)


def not_modified() -> web.Response:
    return web.Response(status=304)
