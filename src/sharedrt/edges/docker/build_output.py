"""The stream of a build: JSON lines, as the CLI's ``jsonmessage`` reads them."""

from typing import Final

from aiohttp import web

from sharedrt.edges.docker.call import Call, dump
from sharedrt.edges.docker.image_pull import PullTeller
from sharedrt.edges.docker.progress import Message, ProgressStream
from sharedrt.edges.docker.words import Refusal
from sharedrt.model.ids import Digest
from sharedrt.services.builds import BuildEvent, BuildText, ImageBuilt, PullStep
from sharedrt.wire.docker_progress import failure
from sharedrt.wire.reference import parse_reference

_MAX_QUIET_BYTES: Final = 1 << 20
"""Of a quiet build's output, the last so many: shown when it fails."""


class BuildStream:
    """One build's answer. Its head goes out with the first output.

    Args:
        quiet: nothing but the image's id, or the output of a build that failed.
    """

    def __init__(self, call: Call, *, quiet: bool) -> None:
        self._call, self._quiet = call, quiet
        self._response: web.StreamResponse | None = None
        self._kept = bytearray()
        self._pulls: dict[str, tuple[PullTeller, ProgressStream]] = {}

    @property
    def begun(self) -> bool:
        return self._response is not None

    @property
    def response(self) -> web.StreamResponse:
        assert self._response is not None
        return self._response

    async def tell(self, event: BuildEvent) -> None:
        match event:
            case BuildText(text):
                await self._send({"stream": text})
            case ImageBuilt(id):
                await self._send({"aux": {"ID": id}})
            case PullStep(reference, progress):
                teller, stream = self._pull(reference)
                teller.tell(progress)
                if data := stream.take():
                    await self._write(data)

    def _pull(self, reference: str) -> tuple[PullTeller, ProgressStream]:
        if reference not in self._pulls:
            stream = ProgressStream()
            self._pulls[reference] = (PullTeller(parse_reference(reference), stream), stream)
        return self._pulls[reference]

    async def end(self, id: Digest) -> None:
        if self._quiet:
            self._quiet = False
            await self._send({"stream": f"{id}\n"})
        await (await self._begin()).write_eof()

    async def fail(self, message: Message) -> None:
        """Tell of the failure in the stream."""
        self._quiet = False
        if self._kept:
            await self._write(bytes(self._kept))
        await self._send(message)
        await self.response.write_eof()

    async def fail_or_raise(self, refusal: Refusal) -> None:
        """The same; as an HTTP error while nothing has been said."""
        if not self.begun and not self._kept:
            raise refusal
        await self.fail(failure(refusal.message))

    async def _send(self, message: Message) -> None:
        await self._write(dump(message) + b"\r\n")

    async def _write(self, data: bytes) -> None:
        if self._quiet:
            self._kept += data
            if len(self._kept) > _MAX_QUIET_BYTES:
                cut = self._kept.find(b"\n", len(self._kept) - _MAX_QUIET_BYTES)
                del self._kept[: cut + 1]
            return
        await (await self._begin()).write(data)

    async def _begin(self) -> web.StreamResponse:
        if self._response is None:
            response = web.StreamResponse(headers=self._call.door.headers)
            response.content_type = "application/json"
            await response.prepare(self._call.request)
            self._call.begun = self._response = response
        return self._response
