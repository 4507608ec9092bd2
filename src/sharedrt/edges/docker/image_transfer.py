"""``/images``: push, load, save."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiohttp import web

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.image_access import familiar, find_image, registry_auth, short_id
from sharedrt.edges.docker.progress import Message, ProgressStream, stream_progress
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_request, not_implemented
from sharedrt.model.faults import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from sharedrt.model.ids import Digest
from sharedrt.services.images import LoadedImage, PushPhase, PushProgress
from sharedrt.wire.docker_progress import layer_progress, layer_status, status
from sharedrt.wire.reference import parse_name

_CHUNK_BYTES: Final = 256 << 10


# ---------------------------------------------------------------- push


async def post_image_push(call: Call) -> web.StreamResponse:
    name, tag = call.params["name"], call.text("tag")
    try:
        reference = parse_name(name)
        if tag:
            reference = reference.with_tag(tag)
    except InvalidArgument as fault:
        raise bad_request(f"invalid reference format: {fault.reason}") from fault
    if not reference.tag:
        raise not_implemented("pushing all tags of a repository")
    credentials = registry_auth(call)
    try:
        call.runtime.images.get(str(reference))
    except NotFound as fault:
        message = f"An image does not exist locally with the tag: {reference.familiar_name}"
        raise Refusal(404, message) from fault
    progress = ProgressStream()
    progress.say(status(f"The push refers to repository [{reference.name}]"))
    sizes: dict[str, int] = {}

    def tell(step: PushProgress) -> None:
        if step.phase is PushPhase.DIGEST:
            sizes[step.text] = step.total
            return
        id = short_id(step.id)
        if step.phase is PushPhase.PUSHING:
            progress.figure(id, layer_progress("Pushing", id, step.current, step.total))
        else:
            progress.end_of(id, layer_status(_PUSH_WORDS[step.phase], id))

    def last(digest: Digest) -> list[Message]:
        size = sizes.get(digest, 0)
        aux: Message = {"Tag": reference.tag, "Digest": digest, "Size": size}
        return [
            status(f"{reference.tag}: digest: {digest} size: {size}"),
            {"progressDetail": {}, "aux": aux},
        ]

    work = call.runtime.images.push(str(reference), credentials=credentials, progress=tell)
    return await stream_progress(call, progress, work, last=last, refuse=_push_refusal)


_PUSH_WORDS: Final = {
    PushPhase.PREPARING: "Preparing",
    PushPhase.PUSHED: "Pushed",
    PushPhase.ALREADY_EXISTS: "Layer already exists",
}


def _push_refusal(error: Exception) -> Refusal | None:
    if isinstance(error, Unauthenticated):
        return Refusal(401, f"unauthorized: {error.reason}")
    if isinstance(error, PermissionDenied):
        return Refusal(403, f"denied: {error.reason}")
    return None


# ---------------------------------------------------------------- load and save


async def post_images_load(call: Call) -> web.StreamResponse:
    if call.text("platform"):
        raise not_implemented("loading one platform of an archive")
    progress = ProgressStream()

    def last(loaded: Sequence[LoadedImage]) -> list[Message]:
        names = [name for image in loaded for name in image.references or (image.image.id,)]
        return [{"stream": _loaded(name)} for name in names]

    work = call.runtime.images.load(call.request.content.iter_chunked(_CHUNK_BYTES))
    # Clients look for a failure in the stream, not at the status.
    return await stream_progress(call, progress, work, last=last, head_first=True)


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
    platform = json_platform(call.text("platform"))
    for name in names:
        find_image(call, name)
    chunks = call.runtime.images.save(names, platform=platform)
    first = await _next(chunks)
    async with call.stream("application/x-tar") as response:
        while first is not None:
            await response.write(first)
            first = await _next(chunks)
    return response


def json_platform(text: str) -> str | None:
    """An OCIPlatform in JSON as ``os/architecture[/variant]``; ``None`` when it is empty."""
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise bad_request(f"invalid platform: {error}") from error
    if not isinstance(value, dict):
        raise bad_request("invalid platform: not an object")
    platform = Fields(value, "platform")
    parts = (platform.text("os"), platform.text("architecture"), platform.text("variant"))
    if not parts[0] or not parts[1]:
        raise bad_request("invalid platform: os and architecture are needed")
    return "/".join(part for part in parts if part)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


ROUTES = (
    Route("POST", "/images/load", post_images_load),
    Route("GET", "/images/get", get_images_get),
    Route("GET", "/images/{name*}/get", get_image_get),
    Route("POST", "/images/{name*}/push", post_image_push),
)
