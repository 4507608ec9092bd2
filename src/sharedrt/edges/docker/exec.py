"""``/containers/{id}/exec`` and ``/exec``: processes started inside running containers."""

import asyncio
import base64
from typing import Any

import structlog
from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.container_streams import parse_keys
from sharedrt.edges.docker.containers import terminal_size
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.gate import HijackedStream
from sharedrt.edges.docker.hijack import HijackedResponse, hijack
from sharedrt.edges.docker.pump import PumpPlan, pump
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_request, start_failed
from sharedrt.model.faults import AlreadyDone, FailedPrecondition, Fault, StartFailed
from sharedrt.model.records import ContainerState, ExecRecord
from sharedrt.model.stdio import StdioSession, StdStream
from sharedrt.services.contracts import NewExec
from sharedrt.wire.docker_stream import encode_frame

log = structlog.get_logger(__name__)


async def post_containers_exec(call: Call) -> web.StreamResponse:
    body = await call.body()
    command = body.strings("Cmd")
    if not command:
        raise bad_request("No exec command specified")
    parse_keys(body.text("DetachKeys"))
    record = call.container()
    request = NewExec(
        container_id=record.id,
        args=command,
        env=body.strings("Env"),
        cwd=body.text("WorkingDir"),
        user=body.text("User"),
        tty=body.boolean("Tty"),
        attach_stdin=body.boolean("AttachStdin"),
        attach_stdout=body.boolean("AttachStdout"),
        attach_stderr=body.boolean("AttachStderr"),
        privileged=body.boolean("Privileged"),
        detach_keys=body.text("DetachKeys"),
        console_size=console_size(call, body),
    )
    try:
        created = await call.runtime.execs.create(request)
    except FailedPrecondition as fault:
        raise _not_runnable(fault) from fault
    return answer({"Id": created.id}, status=201)


def _not_runnable(fault: FailedPrecondition) -> Refusal:
    if "paused" in fault.reason:
        return Refusal(409, f"container {fault.name} is paused, unpause the container before exec")
    return Refusal(409, f"container {fault.name} is not running")


async def post_exec_start(call: Call) -> web.StreamResponse:
    body = await call.body()
    record = call.runtime.execs.get(call.params["id"])
    _check_container(call, record)
    if record.running or record.exit_code is not None:
        raise Refusal(409, f"Error: Exec command {record.id} has already run")
    size = console_size(call, body) or record.console_size if record.tty else None
    if body.boolean("Detach"):
        return await _start_detached(call, record, size)
    # Whether output comes in frames is this request's choice, whatever the exec was created with.
    framed = not body.boolean("Tty")
    stream = hijack(call, versions.stream_content_type(call.version, tty=not framed))
    plan = PumpPlan(
        stdin=record.attach_stdin,
        stdout=record.attach_stdout,
        stderr=record.attach_stderr,
        framed=framed,
        close_stdin=not record.tty,
        detach_keys=parse_keys(record.detach_keys) if record.tty else b"",
    )
    with call.door.streaming():
        try:
            session = await call.runtime.execs.start(record.id, size=size)
            assert session is not None
            async with session:
                await stream.head_taken()
                if not record.attach_stdin:
                    await session.close_stdin()
                if await pump(stream, session, plan):
                    await _tell_detached(call, record)
                else:
                    await _settled(call, record, session)
        except StartFailed as fault:
            await _say(stream, start_failed(fault, of="exec")[1], framed=plan.framed)
        except ConnectionError:
            log.debug("client of an exec left", exec=record.id)
        except Fault as fault:
            await _say(stream, str(fault), framed=plan.framed)
    return HijackedResponse()


def _check_container(call: Call, record: ExecRecord) -> None:
    """While a status can still tell of it. Raises Refusal, NotFound."""
    container = call.runtime.containers.by_id(record.container_id)
    if call.runtime.containers.restarting(container.id):
        raise Refusal(
            409, f"Container {container.id} is restarting, wait until the container is running"
        )
    if container.state is not ContainerState.RUNNING:
        raise _not_runnable(FailedPrecondition("container", container.id, "is not running"))
    if container.paused:
        raise _not_runnable(FailedPrecondition("container", container.id, "is paused"))


async def _say(stream: HijackedStream, text: str, *, framed: bool) -> None:
    """Why there is no output, as output: nothing else is left to tell it by."""
    line = f"{text}\r\n".encode()
    await stream.write(encode_frame(StdStream.STDOUT, line) if framed else line)


async def _settled(call: Call, record: ExecRecord, session: StdioSession) -> None:
    """The CLI asks for the exit code as soon as the stream ends: the record must have it by then."""
    await session.wait()
    for _ in range(100):
        if not call.runtime.execs.get(record.id).running:
            return
        await asyncio.sleep(0.005)


async def _start_detached(
    call: Call, record: ExecRecord, size: tuple[int, int] | None
) -> web.StreamResponse:
    try:
        await call.finish(call.runtime.execs.start(record.id, detach=True, size=size))
    except AlreadyDone as fault:
        raise Refusal(409, f"Error: Exec command {record.id} has already run") from fault
    except FailedPrecondition as fault:
        raise _not_runnable(fault) from fault
    except StartFailed as fault:
        raise Refusal(*start_failed(fault, of="exec")) from fault
    return web.Response(status=200)


def console_size(call: Call, body: Fields) -> tuple[int, int] | None:
    """ConsoleSize is [height, width]; (width, height) here."""
    size = body.raw.get("ConsoleSize")
    if size is None or not versions.reads_console_size(call.version):
        return None
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(isinstance(n, int) and 0 <= n < 1 << 16 for n in size)
    ):
        raise bad_request("invalid ConsoleSize: must be [height, width]")
    return (int(str(size[1])), int(str(size[0]))) if any(size) else None


async def _tell_detached(call: Call, record: ExecRecord) -> None:
    container = call.runtime.containers.by_id(record.container_id)
    attributes = {
        **container.labels,
        "image": container.image_reference,
        "name": container.name,
        "execID": record.id,
    }
    await call.runtime.events.publish("container", "exec_detach", container.id, attributes)


async def post_exec_resize(call: Call) -> web.StreamResponse:
    width, height = terminal_size(call)
    record = call.runtime.execs.get(call.params["id"])
    await call.runtime.execs.resize(record.id, width, height)
    return web.Response(status=200)


async def get_exec_json(call: Call) -> web.StreamResponse:
    return answer(render_exec(call.runtime.execs.get(call.params["id"])))


def render_exec(record: ExecRecord) -> dict[str, Any]:
    """``GET /exec/{id}/json``."""
    return {
        "ID": record.id,
        "Running": record.running,
        "ExitCode": record.exit_code,
        "ProcessConfig": {
            "tty": record.tty,
            "entrypoint": record.args[0],
            "arguments": list(record.args[1:]),
            "privileged": record.privileged,
            "user": record.user,
        },
        "OpenStdin": record.attach_stdin,
        "OpenStderr": record.attach_stderr,
        "OpenStdout": record.attach_stdout,
        "CanRemove": record.exit_code is not None,
        "ContainerID": record.container_id,
        "DetachKeys": _bytes_as_json(record.detach_keys),
        "Pid": record.pid,
    }


def _bytes_as_json(keys: str) -> str:
    """Go writes a byte slice as base64."""
    return base64.b64encode(parse_keys(keys)).decode() if keys else ""


ROUTES = (
    Route("POST", "/containers/{id}/exec", post_containers_exec),
    Route("POST", "/exec/{id}/start", post_exec_start),
    Route("POST", "/exec/{id}/resize", post_exec_resize),
    Route("GET", "/exec/{id}/json", get_exec_json),
)
