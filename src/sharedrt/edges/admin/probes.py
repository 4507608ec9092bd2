"""Health, readiness, metrics and the host check."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from sharedrt.edges.admin.prometheus import CONTENT_TYPE, render
from sharedrt.edges.admin.requests import RUNTIME
from sharedrt.edges.admin.views import finding_view
from sharedrt.model.faults import Fault
from sharedrt.model.findings import Finding

Ready = Callable[[], str]
"""Why the daemon is not ready, or an empty text."""
Check = Callable[[], Awaitable[Sequence[Finding]]]
"""Looks at the host; must not block the loop."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What this door knows of the daemon around it."""

    ready: Ready
    check: Check
    metrics: CollectorRegistry


PROBES: Final = web.AppKey("probes", Probes)
_HEALTH_TIMEOUT_S: Final = 5.0


async def get_healthz(request: web.Request) -> web.Response:
    """The loop turns and the database answers."""
    try:
        async with asyncio.timeout(_HEALTH_TIMEOUT_S):
            await request.app[RUNTIME].all_namespaces.list()
    except TimeoutError:
        return web.Response(
            status=503, text=f"the database is silent for {_HEALTH_TIMEOUT_S:g} s\n"
        )
    except Fault as fault:
        return web.Response(status=503, text=f"{fault}\n")
    return web.Response(text="ok\n")


async def get_readyz(request: web.Request) -> web.Response:
    reason = request.app[PROBES].ready()
    return web.Response(status=503, text=f"{reason}\n") if reason else web.Response(text="ok\n")


async def get_metrics(request: web.Request) -> web.Response:
    body = render(request.app[PROBES].metrics)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


async def get_check(request: web.Request) -> web.Response:
    findings = await request.app[PROBES].check()
    return web.json_response({"items": [finding_view(f) for f in findings]})
