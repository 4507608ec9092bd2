"""Pull, import and remove images, with progress."""

from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.admin.requests import RUNTIME, json_body, one_namespace, text_field
from sharedrt.edges.admin.streams import ProgressLines, lines
from sharedrt.edges.admin.views import image_view
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import parse_namespace
from sharedrt.services.images import PullProgress

_CHUNK_BYTES: Final = 1 << 20


async def post_pull(request: web.Request) -> web.StreamResponse:
    """Pull an image into a namespace."""
    body = await json_body(request)
    namespace = parse_namespace(text_field(body, "namespace"))
    reference = text_field(body, "reference")
    if not reference:
        raise InvalidArgument("reference", reference, "must not be empty")
    images = request.app[RUNTIME].within(namespace).images
    async with lines(request) as (response, sink):
        progress = ProgressLines(sink)
        async with progress.writing():
            image = await images.pull(
                reference,
                platform=text_field(body, "platform") or None,
                progress=lambda step: progress.put(step.id, _step(step)),
            )
        await sink.send({"images": [image_view(namespace, image)]})
    return response


async def post_import(request: web.Request) -> web.StreamResponse:
    """Import an archive (``docker save`` or OCI layout; plain, gzip or zstd), read as it comes."""
    namespace = one_namespace(request)
    images = request.app[RUNTIME].within(namespace).images
    async with lines(request) as (response, sink):
        progress = ProgressLines(sink)
        async with progress.writing():
            loaded = await images.load(
                _body(request), progress=lambda step: progress.put(step.id, _step(step))
            )
        await sink.send({"images": [image_view(namespace, item.image) for item in loaded]})
    return response


async def delete_image(request: web.Request) -> web.Response:
    """Remove a name, or an image by id."""
    namespace = one_namespace(request)
    here = request.app[RUNTIME].within(namespace)
    reference = request.query.get("reference", "")
    if not reference:
        raise InvalidArgument("reference", reference, "must not be empty")

    def users(image_id: str) -> tuple[str, ...]:
        return tuple(r.id for r in here.containers.list() if r.image_id == image_id)

    removed = await here.images.remove(
        reference, force=request.query.get("force") == "true", in_use=users
    )
    return web.json_response(
        {"items": [{"untagged": r.untagged, "deleted": r.deleted} for r in removed]}
    )


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
        yield chunk


def _step(step: PullProgress) -> dict[str, Any]:
    return {
        "id": step.id,
        "phase": step.phase.value,
        "current": step.current,
        "total": step.total,
        "text": step.text,
    }
