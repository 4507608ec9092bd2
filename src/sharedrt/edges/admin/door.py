"""The application and its socket."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from aiohttp import web

from sharedrt.aio.calls import HTTP_REQUESTS, HTTP_SECONDS
from sharedrt.edges._unix_socket import bound_socket, peer_of
from sharedrt.edges.admin import events, images, lists, probes, stopping
from sharedrt.edges.admin.errors import Handler, map_faults
from sharedrt.edges.admin.probes import PROBES, Check, Probes, Ready
from sharedrt.edges.admin.prometheus import make_registry
from sharedrt.edges.admin.requests import RUNTIME
from sharedrt.model.faults import PermissionDenied
from sharedrt.services.contracts import Runtime

log = structlog.get_logger(__name__)

_SHUTDOWN_S: Final = 2.0


class AdminDoor:
    """The administrator's HTTP API on a unix socket, for root alone.

    Args:
        check: looks at the host; must not block the loop.
        ready: why the daemon is not ready, empty when it is (a daemon that opens this door last always is).
    """

    def __init__(self, runtime: Runtime, *, check: Check, ready: Ready = lambda: "") -> None:
        self._runtime, self._ready, self._check = runtime, ready, check

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Serve at ``path`` until the block ends. Raises FailedPrecondition when it cannot be bound."""
        runner = web.AppRunner(
            self.app(), access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S
        )
        with bound_socket(path) as sock:
            await runner.setup()
            try:
                await web.SockSite(runner, sock).start()
                log.info("listening", socket=str(path))
                yield
            finally:
                await runner.cleanup()

    def app(self) -> web.Application:
        app = web.Application(
            middlewares=[_count, map_faults, _check_peer], client_max_size=1 << 20
        )
        app[RUNTIME] = self._runtime
        app[PROBES] = Probes(self._ready, self._check, make_registry(self._runtime))
        app.add_routes(
            [
                web.get("/healthz", probes.get_healthz),
                web.get("/readyz", probes.get_readyz),
                web.get("/metrics", probes.get_metrics),
                web.get("/v1/check", probes.get_check),
                web.get("/v1/version", lists.get_version),
                web.get("/v1/namespaces", lists.get_namespaces),
                web.post("/v1/namespaces/{name}", lists.post_namespace),
                web.delete("/v1/namespaces/{name}", lists.delete_namespace),
                web.get("/v1/containers", lists.get_containers),
                web.get("/v1/pods", lists.get_pods),
                web.get("/v1/images", lists.get_images),
                web.delete("/v1/images", images.delete_image),
                web.post("/v1/images/pull", images.post_pull),
                web.post("/v1/images/import", images.post_import),
                web.get("/v1/content", lists.get_content),
                web.get("/v1/events", events.get_events),
                web.post("/v1/stop-all", stopping.post_stop_all),
            ]
        )
        return app


@web.middleware
async def _count(request: web.Request, handler: Handler) -> web.StreamResponse:
    started = time.monotonic()
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    response = await handler(request)
    HTTP_REQUESTS.inc("admin", request.method, route, str(response.status))
    HTTP_SECONDS.observe(time.monotonic() - started, "admin", request.method, route)
    return response


@web.middleware
async def _check_peer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A socket passed on to another user does not carry its rights along."""
    transport = request.transport
    sock: Any = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None and sock.family == socket.AF_UNIX and (peer := peer_of(sock)).uid != 0:
        raise PermissionDenied("admin socket", f"user {peer.uid} may not use it")
    return await handler(request)
