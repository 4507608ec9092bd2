"""Stop everything: what ``deploy/down`` asks for before it ends the daemon, since containers outlive that."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from aiohttp import web

from sharedrt.edges.admin.requests import RUNTIME, wanted_namespaces
from sharedrt.model.faults import AlreadyDone, Fault, NotFound
from sharedrt.model.records import ContainerState, SandboxState
from sharedrt.services.contracts import NamespacedRuntime


async def post_stop_all(request: web.Request) -> web.Response:
    """Stop all pods and containers, of all namespaces or of ``?namespace=``; each by its own grace.

    One that does not stop keeps none of the others: it is named under ``failed``.
    """
    runtime = request.app[RUNTIME]
    steps: list[Awaitable[dict[str, Any]]] = []
    for namespace in wanted_namespaces(request):
        steps += _steps(runtime.within(namespace))
    done = await asyncio.gather(*steps)
    failed = [item for item in done if item["error"]]
    stopped = [item for item in done if not item["error"]]
    return web.json_response({"stopped": stopped, "failed": failed}, status=500 if failed else 200)


def _steps(here: NamespacedRuntime) -> Sequence[Awaitable[dict[str, Any]]]:
    pods = [
        _outcome(here, "pod", record.id, here.pods.stop(record.id))
        for record in here.pods.list()
        if record.state is SandboxState.READY
    ]
    containers = [
        _outcome(here, "container", record.id, here.containers.stop(record.id))
        for record in here.containers.list()
        if record.sandbox_id is None and record.state is ContainerState.RUNNING
    ]
    return [*pods, *containers]


async def _outcome(
    here: NamespacedRuntime, kind: str, id: str, stop: Awaitable[None]
) -> dict[str, Any]:
    error = ""
    try:
        await stop
    except (AlreadyDone, NotFound):
        pass  # ended, or was removed, by itself meanwhile
    except Fault as fault:
        error = str(fault)
    return {"namespace": here.namespace, "kind": kind, "id": id, "error": error}
