"""The application: one handler for every path, around the handlers of all routes.

Peers, versions, headers and errors are dealt with here, in one place.
"""

import time
from typing import Final, cast

import structlog
from aiohttp import web

from sharedrt.aio.calls import HTTP_REQUESTS, HTTP_SECONDS
from sharedrt.edges.docker.call import DOOR, Call, DockerSettings, Door, answer
from sharedrt.edges.docker.gate import ConnectionGate
from sharedrt.edges.docker.refused import log_refused, name_of
from sharedrt.edges.docker.router import Handler, Router, clean_path
from sharedrt.edges.docker.routes import ROUTES
from sharedrt.edges.docker.versions import split_version
from sharedrt.edges.docker.words import Refusal, to_http
from sharedrt.model.faults import AnyFault, Fault, InvalidArgument
from sharedrt.services.contracts import HostInfo, NamespacedRuntime

log = structlog.get_logger(__name__)

_ROUTER: Final = Router(ROUTES)


def make_docker_app(
    runtime: NamespacedRuntime, host: HostInfo, settings: DockerSettings
) -> web.Application:
    """The Engine API of one namespace. To be served by :func:`sharedrt.edges.docker.serve.serve`, since
    attach and exec need its gate in front of aiohttp."""
    app = web.Application(client_max_size=0)
    app[DOOR] = Door(runtime, host, settings)
    app.router.add_route("*", "/{path:.*}", _dispatch)
    app.on_shutdown.append(_end_streams)
    app.on_cleanup.append(_close)
    return app


async def _end_streams(app: web.Application) -> None:
    await app[DOOR].end_streams()


async def _close(app: web.Application) -> None:
    await app[DOOR].tasks.aclose()


async def _dispatch(request: web.Request) -> web.StreamResponse:
    gate = gate_of(request)
    try:
        response = await _answer(request, gate)
    finally:
        if gate is not None:
            gate.request_done()
    if not response.prepared:
        response.headers.update(request.app[DOOR].headers)
    return response


async def _answer(request: web.Request, gate: ConnectionGate | None) -> web.StreamResponse:
    door = request.app[DOOR]
    if gate is not None and not gate.admitted:
        log.warning("peer refused", peer=gate.peer, namespace=door.runtime.namespace)
        return _refuse(403, "this user may not use this socket")
    if (clean := clean_path(request.path)) != request.path:
        return web.Response(
            status=301, headers={"Location": str(request.rel_url.with_path(clean, keep_query=True))}
        )
    try:
        version, path = split_version(request.path)
    except InvalidArgument as fault:
        return _refuse(400, fault.reason)
    matched = _ROUTER.match(request.method, path)
    if matched is None:
        return _refuse(404, "page not found")
    handler, params = matched
    route, started = getattr(handler, "__name__", "unknown"), time.monotonic()
    response = await _guarded(handler, Call(request, door, version, params))
    HTTP_REQUESTS.inc("docker", request.method, route, str(response.status))
    HTTP_SECONDS.observe(time.monotonic() - started, "docker", request.method, route)
    return response


async def _guarded(handler: Handler, call: Call) -> web.StreamResponse:
    response = await _told(handler, call)
    if call.begun is None or response is call.begun:
        return response
    # Its head is out already, so no status can tell of the failure: a broken connection does.
    if call.request.transport is not None:
        call.request.transport.abort()
    return call.begun


async def _told(handler: Handler, call: Call) -> web.StreamResponse:
    """The handler's answer, or its failure in Docker's words."""
    try:
        return await handler(call)
    except Refusal as refusal:
        log_refused(call, refusal.status, refusal.message)
        return _refuse(refusal.status, refusal.message)
    except Fault as fault:
        status, message = to_http(cast(AnyFault, fault))
        log_refused(call, status, message)
        return _refuse(status, message)
    except web.HTTPException as error:
        return _refuse(error.status, error.reason)
    except ConnectionError:
        raise
    except Exception:
        log.exception("bug in a handler", call=name_of(call))
        return _refuse(500, "internal error of the daemon; its log has the details")


def _refuse(status: int, message: str) -> web.Response:
    return answer({"message": message}, status=status)


def gate_of(request: web.Request) -> ConnectionGate | None:
    """The gate that the request came through."""
    transport = request.transport
    protocol = None if transport is None else transport.get_protocol()
    return protocol if isinstance(protocol, ConnectionGate) else None
