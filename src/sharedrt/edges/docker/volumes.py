"""``/volumes``: there are none yet, and making one is refused by name."""

from aiohttp import web

from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, not_implemented


async def get_volumes(call: Call) -> web.StreamResponse:
    call.filters("dangling", "driver", "label", "name")
    return answer({"Volumes": [], "Warnings": None})


async def get_volume(call: Call) -> web.StreamResponse:
    raise Refusal(404, f"get {call.params['name']}: no such volume")


async def delete_volume(call: Call) -> web.StreamResponse:
    if call.flag("force"):
        return web.Response(status=204)
    raise Refusal(404, f"get {call.params['name']}: no such volume")


async def post_volumes_create(call: Call) -> web.StreamResponse:
    raise not_implemented("a named volume")


async def post_volumes_prune(call: Call) -> web.StreamResponse:
    call.filters("label", "label!", "all")
    return answer({"VolumesDeleted": [], "SpaceReclaimed": 0})


ROUTES = (
    Route("GET", "/volumes", get_volumes),
    Route("POST", "/volumes/create", post_volumes_create),
    Route("POST", "/volumes/prune", post_volumes_prune),
    Route("GET", "/volumes/{name}", get_volume),
    Route("DELETE", "/volumes/{name}", delete_volume),
)
