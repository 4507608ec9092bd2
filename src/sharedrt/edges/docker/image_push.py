"""``POST /images/{name}/push``: one tag, or all of a repository."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.image_access import credentials_of, registry_auth, short_id
from sharedrt.edges.docker.platform_choice import check_json_platform, json_platform
from sharedrt.edges.docker.progress import Message, ProgressStream, stream_progress
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_reference, bad_request
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from sharedrt.services.images import PushPhase, PushProgress
from sharedrt.wire.docker_progress import layer_progress, layer_status, status
from sharedrt.wire.reference import Reference, parse_name


async def post_image_push(call: Call) -> web.StreamResponse:
    name, tag = call.params["name"], call.text("tag")
    try:
        reference = parse_name(name)
        if reference.digest is not None:
            raise bad_request("cannot push a digest reference")
        if tag:
            reference = reference.with_tag(tag)
    except InvalidArgument as fault:
        raise bad_reference(fault) from fault
    for text in call.texts("platform"):
        json_platform(text)
    credentials = await _credentials(call)
    progress = ProgressStream()
    progress.say(status(f"The push refers to repository [{reference.name}]"))
    work = _push(call, reference, credentials, progress)
    return await stream_progress(call, progress, work, refuse=_push_refusal)


async def _credentials(call: Call) -> Credentials | None:
    """Of the header; without one, of the body, as clients had it before version 1.0 of the engine."""
    if call.request.headers.get("X-Registry-Auth"):
        return registry_auth(call)
    if not call.request.can_read_body:
        return None
    return credentials_of(await call.body(required=False))


async def _push(
    call: Call, name: Reference, credentials: Credentials | None, progress: ProgressStream
) -> None:
    for reference in _wanted(call, name):
        teller = _PushTeller(progress)
        digest = await call.runtime.images.push(
            str(reference), credentials=credentials, progress=teller.tell
        )
        size = teller.sizes.get(digest, 0)
        progress.say(status(f"{reference.tag}: digest: {digest} size: {size}"))
        aux: Message = {"Tag": reference.tag, "Digest": digest, "Size": size}
        progress.say({"progressDetail": {}, "aux": aux})


def _wanted(call: Call, name: Reference) -> Sequence[Reference]:
    """The tag that was named, or all that the repository has here.

    Raises:
        Refusal: there is none, in dockerd's words, told in the stream.
    """
    here = [
        reference
        for image in call.runtime.images.list()
        for reference in map(parse_name, image.repo_tags)
        if reference.name == name.name
    ]
    if not here:
        message = f"An image does not exist locally with the tag: {name.familiar_name}"
        raise Refusal(404, message)
    wanted = [reference for reference in here if name.tag in ("", reference.tag)]
    if not wanted:
        raise Refusal(404, f"tag does not exist: {name.familiar}")
    for reference in wanted:
        check_json_platform(call, call.runtime.images.get(str(reference)), reference.familiar)
    return sorted(wanted, key=str)


class _PushTeller:
    """Steps of one push in Docker's words. ``sizes``: of the manifests, in bytes, by digest."""

    def __init__(self, progress: ProgressStream) -> None:
        self._progress = progress
        self.sizes: dict[str, int] = {}

    def tell(self, step: PushProgress) -> None:
        if step.phase is PushPhase.DIGEST:
            self.sizes[step.text] = step.total
            return
        id = short_id(step.id)
        if step.phase is PushPhase.PUSHING:
            self._progress.figure(id, layer_progress("Pushing", id, step.current, step.total))
        else:
            self._progress.end_of(id, layer_status(_WORDS[step.phase], id))


_WORDS: Final = {
    PushPhase.PREPARING: "Preparing",
    PushPhase.PUSHED: "Pushed",
    PushPhase.ALREADY_EXISTS: "Layer already exists",
}


def _push_refusal(error: Exception) -> Refusal | None:
    if isinstance(error, Unauthenticated):
        return Refusal(401, f"unauthorized: {error.reason}")
    if isinstance(error, PermissionDenied):
        return Refusal(403, f"denied: {error.reason}")
    if isinstance(error, NotFound):
        return Refusal(404, f"tag does not exist: {error.name}")
    return None


ROUTES = (Route("POST", "/images/{name*}/push", post_image_push),)
