"""Endpoints of what this engine has none of, answered as an engine without them does, so that clients carry on."""

from typing import Final

from aiohttp import web

from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.router import Handler, Route
from sharedrt.edges.docker.words import Refusal, not_implemented

_NO_SWARM: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)


async def no_swarm(call: Call) -> web.StreamResponse:
    raise Refusal(503, _NO_SWARM)


async def not_in_swarm(call: Call) -> web.StreamResponse:
    raise Refusal(503, "This node is not part of a swarm")


async def get_plugins(call: Call) -> web.StreamResponse:
    return answer([])


async def no_plugin(call: Call) -> web.StreamResponse:
    raise Refusal(404, f'plugin "{call.params["name"]}" not found')


def refused(feature: str) -> Handler:
    """A handler for something that this daemon does not do."""

    async def handler(call: Call) -> web.StreamResponse:
        raise not_implemented(feature)

    return handler


def _swarm_routes() -> list[Route]:
    routes = [
        Route("POST", "/swarm/leave", not_in_swarm),
        Route("GET", "/swarm", no_swarm),
        Route("GET", "/swarm/unlockkey", no_swarm),
        Route("POST", "/swarm/update", no_swarm),
        Route("POST", "/swarm/unlock", no_swarm),
        Route("POST", "/swarm/init", refused("swarm mode")),
        Route("POST", "/swarm/join", refused("swarm mode")),
    ]
    for noun in ("nodes", "services", "tasks", "secrets", "configs"):
        routes.append(Route("GET", f"/{noun}", no_swarm))
        routes.append(Route("GET", f"/{noun}/{{id}}", no_swarm))
        if noun != "tasks":
            routes.append(Route("DELETE", f"/{noun}/{{id}}", no_swarm))
            routes.append(Route("POST", f"/{noun}/{{id}}/update", no_swarm))
        if noun in ("services", "secrets", "configs"):
            routes.append(Route("POST", f"/{noun}/create", no_swarm))
        if noun in ("services", "tasks"):
            routes.append(Route("GET", f"/{noun}/{{id}}/logs", no_swarm))
    return routes


ROUTES = (
    *_swarm_routes(),
    Route("PUT", "/volumes/{name}", no_swarm),
    Route("GET", "/plugins", get_plugins),
    Route("GET", "/plugins/privileges", refused("a plugin")),
    Route("POST", "/plugins/pull", refused("a plugin")),
    Route("POST", "/plugins/create", refused("a plugin")),
    Route("GET", "/plugins/{name*}/json", no_plugin),
    Route("POST", "/plugins/{name*}/enable", no_plugin),
    Route("POST", "/plugins/{name*}/disable", no_plugin),
    Route("POST", "/plugins/{name*}/upgrade", no_plugin),
    Route("POST", "/plugins/{name*}/push", no_plugin),
    Route("POST", "/plugins/{name*}/set", no_plugin),
    Route("DELETE", "/plugins/{name*}", no_plugin),
)
