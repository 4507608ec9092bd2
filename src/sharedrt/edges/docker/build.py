"""``POST /build``: the classic builder, its output streamed as the CLI shows it; and what BuildKit's clients ask."""

from typing import Final, cast

from aiohttp import web

from sharedrt.edges.docker.build_output import BuildStream
from sharedrt.edges.docker.build_request import build_request
from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.image_pull import pull_refusal
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_request, not_implemented, to_http
from sharedrt.model.faults import AnyFault, Fault
from sharedrt.services.builds import BuildFailed, PullFailed
from sharedrt.wire.docker_progress import failure
from sharedrt.wire.reference import parse_reference

_CHUNK_BYTES: Final = 256 << 10
_CLASSIC: Final = "this daemon builds with the classic builder (DOCKER_BUILDKIT=0)"


async def post_build(call: Call) -> web.StreamResponse:
    """A failure before the first output is an HTTP error; after that it is the stream's last message. The build is
    cancelled when the client leaves."""
    request = build_request(call)
    stream = BuildStream(call, quiet=call.flag("q"))
    chunks = call.request.content.iter_chunked(_CHUNK_BYTES)
    with call.door.streaming():
        try:
            image = await call.runtime.builds.build(request, chunks, stream.tell)
        except BuildFailed as error:
            if error.malformed and not stream.begun:
                raise Refusal(400, error.message) from error
            await stream.fail(failure(error.message, error.code))
        except Refusal as refusal:
            await stream.fail_or_raise(refusal)
        except PullFailed as error:
            said = pull_refusal(error.fault, parse_reference(error.reference))
            await stream.fail_or_raise(said or Refusal(*to_http(error.fault)))
        except Fault as fault:
            await stream.fail_or_raise(Refusal(*to_http(cast(AnyFault, fault))))
        else:
            await stream.end(image.id)
    return stream.response


async def post_session(call: Call) -> web.StreamResponse:
    """BuildKit's clients offer secrets, contexts and the like here: nothing of that is asked for by this builder."""
    protocol = call.request.headers.get("Upgrade", "")
    if not protocol:
        raise bad_request("no upgrade proto in request")
    if protocol != "h2c":
        raise bad_request(f"protocol {protocol} not supported")
    raise not_implemented(f"a BuildKit session: {_CLASSIC}; it")


async def post_grpc(call: Call) -> web.StreamResponse:
    raise not_implemented(f"BuildKit: {_CLASSIC}; it")


async def post_build_cancel(call: Call) -> web.StreamResponse:
    """Of BuildKit's builds, by id. The classic builder's end with their connection."""
    raise not_implemented(f"cancelling a build by id: {_CLASSIC}; it")


ROUTES = (
    Route("POST", "/build", post_build),
    Route("POST", "/build/cancel", post_build_cancel),
    Route("POST", "/session", post_session),
    Route("POST", "/grpc", post_grpc),
)
