"""``POST /images/create``, ``GET /distribution/{name}/json``: what comes from registries, and what they have."""

from typing import Final

from aiohttp import web

from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.commit import import_image
from sharedrt.edges.docker.image_access import registry_auth, short_id
from sharedrt.edges.docker.platform_choice import asked_platform
from sharedrt.edges.docker.progress import ProgressStream, stream_progress
from sharedrt.edges.docker.render_image import render_descriptor, render_platform
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_reference, bad_request
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from sharedrt.model.ids import parse_digest
from sharedrt.services.images import PullPhase, PullProgress
from sharedrt.wire.docker_progress import layer_progress, layer_status, status
from sharedrt.wire.reference import Reference, parse_name


async def post_images_create(call: Call) -> web.StreamResponse:
    if call.text("fromSrc"):
        return await import_image(call)
    name = call.text("fromImage")
    if not name:
        raise bad_request("fromImage or fromSrc is needed")
    reference = pull_reference(name, call.text("tag"))
    if reference.familiar_name == "scratch":
        raise Refusal(403, "'scratch' is a reserved name")
    platform = asked_platform(call.text("platform"), call.door.host)
    progress = ProgressStream()
    work = _pull(call, reference, platform, registry_auth(call), progress)
    return await stream_progress(
        call, progress, work, refuse=lambda error: pull_refusal(error, reference)
    )


async def _pull(
    call: Call,
    name: Reference,
    platform: str,
    credentials: Credentials | None,
    progress: ProgressStream,
) -> None:
    """One image, or every tag of a bare name, one after the other."""
    images = call.runtime.images
    wanted = [name]
    if not name.tag and name.digest is None:
        tags = await images.remote_tags(str(name), credentials=credentials)
        wanted = [name.with_tag(tag) for tag in tags]
    for reference in wanted:
        await images.pull(
            str(reference),
            credentials=credentials,
            platform=platform or None,
            progress=PullTeller(reference, progress).tell,
        )


def pull_reference(name: str, tag: str) -> Reference:
    """``tag`` may be a digest; without one in either place all tags are meant. Raises Refusal."""
    try:
        reference = parse_name(name)
        if tag.startswith(("sha256:", "sha512:")):
            return reference.with_digest(parse_digest(tag))
        return reference.with_tag(tag) if tag else reference
    except InvalidArgument as fault:
        raise bad_reference(fault) from fault


def pull_refusal(error: Exception, reference: Reference) -> Refusal | None:
    """A registry's no in dockerd's words."""
    name = reference.familiar_name
    if isinstance(error, NotFound):
        if error.kind == "platform":
            return Refusal(404, error.name)
        if reference.digest is not None or reference.domain != "docker.io":
            message = f"manifest for {reference.familiar} not found: manifest unknown"
            return Refusal(404, f"{message}: manifest unknown")
        return Refusal(
            404,
            f"pull access denied for {name}, repository does not exist or may require "
            f"'docker login': manifest for {reference.familiar} not found",
        )
    if isinstance(error, (Unauthenticated, PermissionDenied)):
        return Refusal(
            404,
            f"pull access denied for {name}, repository does not exist or may require "
            f"'docker login': {error.reason}",
        )
    return None


class PullTeller:
    """Steps of a pull in Docker's words.

    ``Pulling from`` waits for the first thing that the registry has said, so that an unknown image can
    still be answered with 404.
    """

    def __init__(self, reference: Reference, progress: ProgressStream) -> None:
        self._reference = reference
        self._progress = progress
        self._begun = False

    def tell(self, step: PullProgress) -> None:
        if step.phase is PullPhase.RESOLVING:
            return
        if not self._begun:
            self._begun = True
            repository = self._reference.familiar_name
            if self._reference.domain == "docker.io":
                repository = self._reference.path
            self._progress.say(status(f"Pulling from {repository}", id=self._reference.selector))
        match step.phase:
            case PullPhase.DIGEST:
                self._progress.say(status(f"Digest: {step.text}"))
            case PullPhase.STATUS:
                new = (
                    "Downloaded newer image" if step.text == "downloaded" else "Image is up to date"
                )
                self._progress.say(status(f"Status: {new} for {self._reference.familiar}"))
            case _:
                self._tell_layer(step)

    def _tell_layer(self, step: PullProgress) -> None:
        id = short_id(step.id)
        match step.phase:
            case PullPhase.DOWNLOADING:
                self._progress.figure(
                    id, layer_progress("Downloading", id, step.current, step.total)
                )
            case PullPhase.EXTRACTING:
                self._progress.figure(
                    id, layer_progress("Extracting", id, step.current, step.total)
                )
            case _:
                self._progress.end_of(id, layer_status(_PULL_WORDS[step.phase], id))


_PULL_WORDS: Final = {
    PullPhase.PULLING_FS_LAYER: "Pulling fs layer",
    PullPhase.VERIFYING: "Verifying Checksum",
    PullPhase.DOWNLOAD_COMPLETE: "Download complete",
    PullPhase.PULL_COMPLETE: "Pull complete",
    PullPhase.ALREADY_EXISTS: "Already exists",
}


async def get_distribution(call: Call) -> web.StreamResponse:
    """What a registry has under a name, without pulling it."""
    try:
        reference = parse_name(call.params["name"]).pinned()
    except InvalidArgument as fault:
        raise bad_reference(fault) from fault
    credentials = registry_auth(call)
    try:
        target, platforms = await call.runtime.images.inspect_remote(
            str(reference), credentials=credentials
        )
    except NotFound as fault:
        raise Refusal(404, "manifest unknown: manifest unknown") from fault
    except (Unauthenticated, PermissionDenied) as fault:
        raise Refusal(401, f"unauthorized: {fault.reason}") from fault
    return answer(
        {
            "Descriptor": render_descriptor(target),
            "Platforms": [render_platform(platform) for platform in platforms],
        }
    )


ROUTES = (
    Route("POST", "/images/create", post_images_create),
    Route("GET", "/distribution/{name*}/json", get_distribution),
)
