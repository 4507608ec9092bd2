"""``/containers/{id}``: attach (hijacked and WebSocket) and logs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import quote_plus

import structlog
from aiohttp import WSMsgType, web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.gate import HijackedStream
from sharedrt.edges.docker.hijack import HijackedResponse, hijack
from sharedrt.edges.docker.log_encoder import LogEncoder
from sharedrt.edges.docker.pump import Client, PumpPlan, pump
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.times import moment
from sharedrt.edges.docker.translate_log import DEFAULT_DRIVER, chosen_facts
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.model.drivers import LogLine, LogQuery
from sharedrt.model.faults import FailedPrecondition, Fault
from sharedrt.model.records import ContainerRecord
from sharedrt.model.stdio import StdioSession
from sharedrt.wire.docker_detach import parse_detach_keys
from sharedrt.wire.go_numbers import parse_digits
from sharedrt.wire.log_tag import render_tag, tag_fields

log = structlog.get_logger(__name__)

_WS_MESSAGE_BYTES: Final = 1 << 20
_MOST_LINES: Final = (1 << 31) - 1


# ---------------------------------------------------------------- attach


def _plan(call: Call, record: ContainerRecord, *, framed: bool) -> PumpPlan:
    tty = record.spec.tty
    keys = parse_keys(call.text("detachKeys"))
    return PumpPlan(
        stdin=call.flag("stdin") and record.spec.open_stdin,
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        framed=framed and not tty,
        close_stdin=record.spec.stdin_once and not tty,
        detach_keys=keys if tty else b"",
    )


def parse_keys(text: str) -> bytes:
    try:
        return parse_detach_keys(text)
    except ValueError as error:
        raise bad_request(f"Invalid detach keys ({text}) provided: {error}") from error


def _attachable(call: Call) -> ContainerRecord:
    record = call.container()
    if record.paused:
        raise Refusal(
            409,
            f"container {call.params['id']} is paused, unpause the container before attach",
        )
    if call.runtime.containers.restarting(record.id):
        raise Refusal(
            409, f"container {call.params['id']} is restarting, wait until the container is running"
        )
    return record


async def post_containers_attach(call: Call) -> web.StreamResponse:
    record = _attachable(call)
    plan = _plan(call, record, framed=True)
    # Before the head goes out: the client starts the container once it has the head.
    session = await _session(call, record)
    try:
        content_type = versions.stream_content_type(call.version, tty=record.spec.tty)
        stream = hijack(call, content_type)
        with call.door.streaming():
            await _serve_attach(call, record, stream, session, plan)
    finally:
        if session is not None:
            await session.close()
    return HijackedResponse()


async def _session(call: Call, record: ContainerRecord) -> StdioSession | None:
    """The live streams; ``None`` when only the log was asked for."""
    if not call.flag("stream"):
        return None
    session = await call.runtime.containers.attach(record.id)
    await call.runtime.events.publish("container", "attach", record.id, _attributes(record))
    return session


async def _serve_attach(
    call: Call,
    record: ContainerRecord,
    stream: HijackedStream,
    session: StdioSession | None,
    plan: PumpPlan,
) -> None:
    try:
        if call.flag("logs"):
            await stream.head_taken()
            await _replay(call, record, stream, plan)
        if session is not None and await pump(stream, session, plan):
            await call.runtime.events.publish("container", "detach", record.id, _attributes(record))
    except ConnectionError:
        log.debug("attached client left", container=record.id)
    except Fault as fault:
        # The container's start failed: whoever started it has been told why.
        log.debug("attach ended", container=record.id, reason=str(fault))


async def _replay(call: Call, record: ContainerRecord, stream: Client, plan: PumpPlan) -> None:
    encoder = LogEncoder(framed=plan.framed)
    query = LogQuery(stdout=plan.stdout, stderr=plan.stderr)
    try:
        async for batch in call.runtime.containers.logs(record.id, query):
            await stream.write(encoder.encode(batch))
    except FailedPrecondition:
        log.debug("no log to replay", container=record.id)


def _attributes(record: ContainerRecord) -> dict[str, str]:
    return {**record.labels, "image": record.image_reference, "name": record.name}


class _WebSocketClient:
    """A WebSocket as a pump's client: one stream each way, no frames of Docker's.

    Args:
        text: send text messages instead of binary ones.
        has_input: somebody calls :meth:`read`, and so will see it close.
    """

    def __init__(self, socket: web.WebSocketResponse, *, text: bool, has_input: bool) -> None:
        self._socket = socket
        self._text = text
        self._has_input = has_input
        self._closed = asyncio.Event()

    async def read(self) -> bytes:
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            return str(message.data).encode()
        if message.type is WSMsgType.BINARY:
            return bytes(message.data)
        self._closed.set()
        return b""

    async def write(self, data: bytes) -> None:
        if self._text:
            await self._socket.send_str(data.decode("utf-8", "replace"))
        else:
            await self._socket.send_bytes(data)

    async def gone(self) -> None:
        """A close goes unnoticed unless somebody reads, and only one may."""
        while not self._has_input and not self._closed.is_set():
            await self.read()
        await self._closed.wait()


async def get_containers_attach_ws(call: Call) -> web.StreamResponse:
    record = _attachable(call)
    plan = _plan(call, record, framed=False)
    socket = web.WebSocketResponse(max_msg_size=_WS_MESSAGE_BYTES)
    if not socket.can_prepare(call.request):
        raise bad_request("not websocket protocol")
    session = await _session(call, record)
    text = versions.sends_text(call.version)
    client = _WebSocketClient(socket, text=text, has_input=plan.stdin)
    try:
        await socket.prepare(call.request)
        with call.door.streaming():
            await _serve_ws(call, record, client, session, plan)
    finally:
        if session is not None:
            await session.close()
    await socket.close()
    return socket


async def _serve_ws(
    call: Call,
    record: ContainerRecord,
    client: _WebSocketClient,
    session: StdioSession | None,
    plan: PumpPlan,
) -> None:
    try:
        if call.flag("logs"):
            await _replay(call, record, client, plan)
        if session is not None and await pump(client, session, plan):
            await call.runtime.events.publish("container", "detach", record.id, _attributes(record))
    except ConnectionError:
        log.debug("attached client left", container=record.id)
    except Fault as fault:
        log.debug("attach ended", container=record.id, reason=str(fault))


# ---------------------------------------------------------------- logs


async def get_containers_logs(call: Call) -> web.StreamResponse:
    record = call.container()
    query = _log_query(call)
    if not record.log_path:
        raise Refusal(501, "configured logging driver does not support reading")
    view = ContainerView(record)
    encoder = LogEncoder(
        framed=not record.spec.tty,
        timestamps=call.flag("timestamps"),
        details=log_details(view) if call.flag("details") else None,
    )
    content_type = versions.stream_content_type(call.version, tty=record.spec.tty)
    batches = call.runtime.containers.logs(record.id, query)
    async with call.stream(content_type) as response:
        try:
            await _send(batches, encoder, response)
        except Fault as fault:
            log.warning("reading a log failed", container=record.id, error=str(fault))
            await response.write(encoder.error(f"Error grabbing logs: {fault}\n"))
        return response


async def _send(
    batches: AsyncIterator[Sequence[LogLine]], encoder: LogEncoder, response: web.StreamResponse
) -> None:
    async for batch in batches:
        if data := encoder.encode(batch):
            await response.write(data)


def _log_query(call: Call) -> LogQuery:
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not stdout and not stderr:
        raise bad_request("Bad parameters: you must choose at least one stream")
    until = moment(call.text("until"), "until")
    if until is not None and until < 0:
        until = 1  # before all lines, and not 0, which for a log is no bound (at dockerd as well)
    return LogQuery(
        follow=call.flag("follow"),
        since_ns=max(moment(call.text("since"), "since") or 0, 0),
        until_ns=until or 0,
        tail=_tail(call.text("tail", "all")),
        stdout=stdout,
        stderr=stderr,
    )


def _tail(text: str) -> int:
    """A number of lines; anything else is all of them, as at dockerd."""
    lines = parse_digits(text, _MOST_LINES)
    return -1 if lines is None else lines


def log_details(view: ContainerView) -> str:
    """``details=1``: the labels, variables and tag that the log options chose, as ``k=v,...``, each as in a URL."""
    driver = view.host_config.get("LogConfig")
    options = driver.get("Config") if isinstance(driver, dict) else None
    if not isinstance(options, dict) or not isinstance(driver, dict):
        return ""
    texts = {name: str(value) for name, value in options.items()}
    record = view.record
    chosen = chosen_facts(texts, record.labels, record.spec.env)
    if (tag := texts.get("tag")) and driver.get("Type") == DEFAULT_DRIVER:
        chosen["tag"] = render_tag(tag, tag_fields(record))
    return ",".join(f"{quote_plus(n)}={quote_plus(v)}" for n, v in sorted(chosen.items()))


ROUTES = (
    Route("POST", "/containers/{id}/attach", post_containers_attach),
    Route("GET", "/containers/{id}/attach/ws", get_containers_attach_ws),
    Route("GET", "/containers/{id}/logs", get_containers_logs),
)
