"""One API call: what the door gives to handlers, and how they read parameters and bodies."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from aiohttp import web

from sharedrt.aio.tasks import TaskOwner
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.links import find_container
from sharedrt.edges.docker.versions import NEWEST, ApiVersion
from sharedrt.edges.docker.words import Refusal, bad_request, quoted
from sharedrt.model.drivers import ConfiguredRegistries
from sharedrt.model.records import ContainerRecord
from sharedrt.services.contracts import HostInfo, NamespacedRuntime
from sharedrt.wire.docker_filters import FilterError, Filters, parse_filters
from sharedrt.wire.go_json import GoJsonError, read_first
from sharedrt.wire.go_numbers import NumberError, parse_int

T = TypeVar("T")

MAX_JSON_BYTES: Final = 4 << 20
_NO: Final = ("", "0", "no", "false", "none")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """What the daemon's configuration says about this door."""

    registries: Callable[[], ConfiguredRegistries] = ConfiguredRegistries
    """As they are configured now, for ``/info``. Blocking: reads the files."""
    address_pools: tuple[str, ...] = ()
    """CIDR, for ``/info``."""
    init_binary: str = "catatonit"
    warnings: tuple[str, ...] = ()
    debug: bool = False
    cdi_dirs: tuple[str, ...] = ()
    cdi_devices: Callable[[], Sequence[str]] = tuple
    """Names of the CDI devices that there are now, for ``/info``. Blocking: reads the folders."""
    insecure_runs: bool = False
    agent_sockets: bool = True
    """Policy for builds (``[builds]`` of the configuration)."""


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
            return parse_int(value)
        except NumberError as error:
            raise bad_request(f"invalid value for '{name}': {quoted(value)}: {error}") from error

    def uint32(self, name: str, what: str) -> int:
        """A figure that must be given. Raises Refusal (400), which calls it ``what``."""
        value = self.text(name)
        try:
            number = parse_int(value)
            if value.startswith("+"):
                raise NumberError("invalid syntax")
            if value.startswith("-") or number >= 1 << 32:
                raise NumberError("value out of range")
        except NumberError as error:
            raise bad_request(f"invalid {what} {quoted(value)}: {error}") from error
        return number

    def filters(self, *known: str) -> Filters:
        """The ``filters`` parameter. Raises Refusal (400), also for a filter outside ``known``."""
        try:
            filters = parse_filters(self.text("filters"))
            filters.check(known)
        except FilterError as error:
            raise bad_request(str(error)) from error
        return filters

    # -- bodies

    async def body(self, *, required: bool = False) -> Fields:
        """The JSON object that the request carries; an empty one for ``null``.

        Args:
            required: no body at all is refused; else it is as good as ``{}``.

        Raises:
            Refusal: 400 for no JSON, no object, another content type; 413 beyond the bound.
        """
        raw = await self._read()
        stated = self.request.headers.get("Content-Type", "")
        if raw or stated:
            self._check_json_type(stated)
        if not raw and not required:
            return Fields({})
        try:
            value, more = read_first(raw)
        except GoJsonError as error:
            if error.empty:
                raise bad_request("invalid JSON: got EOF while reading request body") from error
            raise bad_request(f"invalid JSON: {error}") from error
        if value is not None and not isinstance(value, dict):
            raise bad_request("invalid JSON: not an object")
        if more:
            raise bad_request("unexpected content after JSON")
        return Fields(value or {})

    def _check_json_type(self, stated: str) -> None:
        if not stated:
            raise bad_request("malformed Content-Type header (): mime: no media type")
        if stated.partition(";")[0].strip().lower() != "application/json":
            raise bad_request(
                f"unsupported Content-Type header ({stated}): must be 'application/json'"
            )

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
    """A value as compact JSON; of its texts, what is no UTF-8 is U+FFFD, as Go writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a file's name, say
        return _SURROGATE.sub("\ufffd", text).encode()


def answer(value: object, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=dump(value), status=status, content_type="application/json")


def no_content() -> web.Response:
    return web.Response(status=204)


def not_modified() -> web.Response:
    return web.Response(status=304)
