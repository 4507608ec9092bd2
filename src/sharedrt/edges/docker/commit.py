"""``POST /commit``, and images out of root file systems (``POST /images/create?fromSrc=``)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.platform_choice import import_platform
from sharedrt.edges.docker.progress import ProgressStream, stream_progress
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_reference, bad_request
from sharedrt.model.faults import InvalidArgument, NotFound, Unauthenticated
from sharedrt.services.commits import NewCommit
from sharedrt.wire.docker_progress import progress_of, status
from sharedrt.wire.image_changes import apply_changes
from sharedrt.wire.reference import parse_name

_CHUNK_BYTES: Final = 256 << 10
_OF_AN_IMAGE: Final = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Healthcheck",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "Shell",
    "OnBuild",
)
"""What of a container's Config goes into an image: the rest (host name, terminal ...) is the container's own."""


async def post_commit(call: Call) -> web.StreamResponse:
    given = await call.body()
    if not (reference := call.text("container")):
        raise bad_request("bad parameter: container cannot be empty")
    record = call.runtime.containers.get(reference)
    container = ContainerView(record).config
    env = Fields(container).strings("Env")
    config = merge_configs(_changed(given.raw, call, env), container)
    work = call.runtime.commits.commit(
        record.id,
        NewCommit(
            config=config,
            name=_name(call.text("repo"), call.text("tag")),
            author=call.text("author"),
            comment=call.text("comment"),
            pause=call.flag("pause") or not call.text("pause"),
        ),
    )
    image = await call.finish(work)
    return answer({"Id": image.id}, status=201)


def merge_configs(given: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """The client's and the changes' over the container's; lists of names are joined, by name, as dockerd does."""
    first, second = Fields(given, "config").raw, container
    merged: dict[str, Any] = {}
    for name in _OF_AN_IMAGE:
        ours, theirs = first.get(name), second.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict) and name != "Healthcheck":
            merged[name] = {**theirs, **ours}
        elif name == "Env" and isinstance(ours, list) and isinstance(theirs, list):
            named = {str(item).partition("=")[0] for item in ours}
            merged[name] = [i for i in theirs if str(i).partition("=")[0] not in named] + ours
        elif name == "Cmd" and not ours and first.get("Entrypoint"):
            merged[name] = None  # a new entrypoint drops the old command
        else:
            merged[name] = ours or theirs
    return {name: value for name, value in merged.items() if value}


async def import_image(call: Call) -> web.StreamResponse:
    """The body is the archive, or a URL leads to it."""
    source = call.text("fromSrc")
    platform = import_platform(call.text("platform"), call.door.host)
    new = NewCommit(
        config=_changed({}, call),
        name=_name(call.text("repo"), call.text("tag")),
        comment=call.text("message") or f"Imported from {source}",
    )
    progress = ProgressStream()
    commits = call.runtime.commits
    if source == "-":
        archive = call.request.content.iter_chunked(_CHUNK_BYTES)
        work = commits.import_rootfs(archive, new, platform=platform)
    else:
        url = source if "://" in source else f"http://{source}"
        teller = ImportTeller(url, progress)
        work = commits.import_url(url, new, platform=platform, progress=teller.tell)
    return await stream_progress(
        call, progress, work, last=lambda image: [status(image.id)], refuse=import_refusal
    )


def import_refusal(error: Exception) -> Refusal | None:
    """A server's no in dockerd's words."""
    match error:
        case NotFound(kind="url", name=url):
            return Refusal(404, f"failed to GET {url} with status 404 Not Found")
        case InvalidArgument(field="url", reason=reason) if reason.startswith("failed to GET"):
            return Refusal(400, reason)
        case Unauthenticated(reason=reason):
            return Refusal(401, reason)
    return None


class ImportTeller:
    """How far a download has come, in Docker's words."""

    def __init__(self, url: str, progress: ProgressStream) -> None:
        self._url, self._progress = url, progress
        self._begun = False

    def tell(self, done: int, total: int) -> None:
        if not self._begun:
            self._begun = True
            self._progress.say(status(f"Downloading from {self._url}"))
            return
        self._progress.figure("import", progress_of("Importing", done, total))


def _changed(config: Mapping[str, Any], call: Call, env: Sequence[str] = ()) -> dict[str, Any]:
    try:
        return apply_changes(config, call.texts("changes"), env)
    except InvalidArgument as fault:
        raise bad_request(fault.reason) from fault


def _name(repository: str, tag: str) -> str:
    """A reference out of ``repo`` and ``tag``; empty: none. Raises Refusal."""
    if not repository:
        return ""
    try:
        reference = parse_name(repository)
        if reference.digest is not None:
            raise bad_request("cannot use digest reference")
        return str(reference.with_tag(tag or reference.tag or "latest"))
    except InvalidArgument as fault:
        raise bad_reference(fault) from fault


ROUTES = (Route("POST", "/commit", post_commit),)
