"""``/images``: load and save."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiohttp import web

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.image_access import familiar, select_images, short_id
from sharedrt.edges.docker.platform_choice import check_json_platform, json_platform
from sharedrt.edges.docker.progress import Message, ProgressStream, stream_progress
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import bad_request
from sharedrt.services.images import LoadedImage, PullPhase, PullProgress
from sharedrt.wire.docker_progress import layer_progress

_CHUNK_BYTES: Final = 256 << 10


async def post_images_load(call: Call) -> web.StreamResponse:
    platforms = call.texts("platform")
    if len(platforms) > 1:
        raise bad_request("multiple platform parameters not supported")
    progress = ProgressStream()

    def tell(step: PullProgress) -> None:
        if step.phase is PullPhase.EXTRACTING:
            id = short_id(step.id)
            progress.figure(id, layer_progress("Loading layer", id, step.current, step.total))

    def last(loaded: Sequence[LoadedImage]) -> list[Message]:
        names = [name for image in loaded for name in image.references or (image.image.id,)]
        return [{"stream": _loaded(name)} for name in names]

    work = call.runtime.images.load(
        call.request.content.iter_chunked(_CHUNK_BYTES),
        platform=json_platform(platforms[0]) if platforms else None,
        progress=None if call.flag("quiet") else tell,
    )
    # Clients look for a failure in the stream, not at the status.
    return await stream_progress(call, progress, work, last=last, in_stream=True)


def _loaded(name: str) -> str:
    if name.startswith("sha256:"):
        return f"Loaded image ID: {name}\n"
    return f"Loaded image: {familiar(name)}\n"


async def get_images_get(call: Call) -> web.StreamResponse:
    names = [name for joined in call.texts("names") for name in joined.split(",")]
    if not names:
        raise bad_request("no image was named")
    return await _save(call, names)


async def get_image_get(call: Call) -> web.StreamResponse:
    return await _save(call, [call.params["name"]])


async def _save(call: Call, names: list[str]) -> web.StreamResponse:
    if len(call.texts("platform")) > 1:
        raise bad_request("multiple platform parameters not supported")
    images = [(image, name) for name in names for image in select_images(call, name)]
    for image, name in images:
        check_json_platform(call, image, name)
    chunks = call.runtime.images.save(names)
    first = await _next(chunks)
    async with call.stream("application/x-tar") as response:
        while first is not None:
            await response.write(first)
            first = await _next(chunks)
        for image, _ in images:
            attributes = {**image.config.labels, "name": image.id}
            await call.runtime.events.publish("image", "save", image.id, attributes)
    return response


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


ROUTES = (
    Route("POST", "/images/load", post_images_load),
    Route("GET", "/images/get", get_images_get),
    Route("GET", "/images/{name*}/get", get_image_get),
)
