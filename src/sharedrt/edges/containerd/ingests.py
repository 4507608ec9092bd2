"""Blobs on their way in: the steps of a Write call.

::

    client                              server
    STAT  ref, total, expected    ->    offset                   where to go on
    WRITE offset, data            ->    offset                   repeated
    COMMIT total, expected, labels ->   digest, offset           the call ends

A WRITE or COMMIT at offset 0 into an ingest that has bytes begins it anew, as in containerd; at any other offset than
the current one it is refused (OUT_OF_RANGE). The ingest of a broken call stays, and a later call of the same ref goes
on with it.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from grpclib import GRPCError, Status

from sharedrt.edges.containerd.call import calling_lease
from sharedrt.model.drivers import Ingest
from sharedrt.model.faults import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from sharedrt.model.ids import Digest, Namespace, parse_digest
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd.services.content import v1 as pb
from sharedrt.services.contracts import Content, NamespacedRuntime


@dataclass(slots=True)
class LiveIngest:
    """An ingest that a call has open. ``total`` and ``expected`` as the client announced them."""

    ref: str
    started_ns: int
    updated_ns: int
    offset: int = 0
    total: int = 0
    expected: str = ""


class Ingests:
    """The ingests that are open at this door. One writer to a ref, as in containerd."""

    def __init__(self) -> None:
        self._live: dict[tuple[Namespace, str], LiveIngest] = {}

    def find(self, namespace: Namespace, ref: str) -> LiveIngest | None:
        return self._live.get((namespace, ref))

    def list(self, namespace: Namespace) -> Sequence[LiveIngest]:
        return [live for (owner, _), live in self._live.items() if owner == namespace]

    @asynccontextmanager
    async def open(
        self, here: NamespacedRuntime, first: pb.WriteContentRequest
    ) -> AsyncIterator["Write"]:
        """Open, or resume, what the call's first message names.

        Raises:
            InvalidArgument: no ref. AlreadyExists: the namespace has the expected blob.
            Unavailable: another call writes to this ref; clients retry.
        """
        if not first.ref:
            raise InvalidArgument("ref", "", "the first message must name the ingest")
        await _refuse_known(here.content, first.expected)
        key = (here.namespace, first.ref)
        if key in self._live:
            raise Unavailable(f"ref {first.ref}", "locked by another writer")
        now = time.time_ns()
        live = self._live[key] = LiveIngest(first.ref, now, now)
        try:
            async with here.content.ingest(first.ref) as ingest:
                yield Write(here, live, ingest)
        finally:
            del self._live[key]

    async def abort(self, here: NamespacedRuntime, ref: str) -> None:
        """Throw away what an ingest has. Raises NotFound, or Unavailable while a call writes to it."""
        if (here.namespace, ref) in self._live:
            raise Unavailable(f"ref {ref}", "locked by another writer")
        async with here.content.ingest(ref) as ingest:
            if not ingest.offset:
                raise NotFound("ingest", ref)
            await ingest.truncate()


class Write:
    """One Write call on an open ingest."""

    def __init__(self, here: NamespacedRuntime, live: LiveIngest, ingest: Ingest) -> None:
        self._here, self._live, self._ingest = here, live, ingest
        self.committed = False

    async def step(self, request: pb.WriteContentRequest) -> pb.WriteContentResponse:
        """Carry out one message and answer it."""
        live = self._live
        self._announce(request)
        digest = ""
        if request.action != pb.WriteAction.STAT:
            await self._write(request.offset, request.data)
        if request.action == pb.WriteAction.COMMIT:
            digest = await self._commit(request)
        else:
            live.offset = self._ingest.offset
        return pb.WriteContentResponse(
            action=request.action,
            started_at=from_unix_ns(live.started_ns),
            updated_at=from_unix_ns(live.updated_ns),
            offset=live.offset,
            total=live.total,
            digest=digest,
        )

    def _announce(self, request: pb.WriteContentRequest) -> None:
        live = self._live
        if request.ref and request.ref != live.ref:
            raise InvalidArgument("ref", request.ref, f"this call writes to {live.ref!r}")
        if request.expected:
            if live.expected and request.expected != live.expected:
                raise InvalidArgument("expected", request.expected, f"was {live.expected!r} before")
            live.expected = parse_digest(request.expected)
        if request.total > 0:
            live.total = request.total

    async def _write(self, offset: int, data: bytes) -> None:
        ingest = self._ingest
        if offset and offset != ingest.offset:
            raise GRPCError(
                Status.OUT_OF_RANGE,
                f"write at {offset}, where the ingest has {ingest.offset} bytes",
            )
        if not offset and ingest.offset:
            await ingest.truncate()
        if data:
            await ingest.write(data)
            self._live.updated_ns = time.time_ns()

    async def _commit(self, request: pb.WriteContentRequest) -> Digest:
        """Seal the blob, give it to the namespace, and hold it by the call's lease."""
        live = self._live
        expected = parse_digest(live.expected) if live.expected else None
        try:
            digest, size = await self._ingest.commit(expected, live.total or None)
        except DataLoss as fault:
            # containerd's status for bytes that are not those announced.
            raise FailedPrecondition("ref", live.ref, str(fault)) from fault
        await self._here.content.grant(digest, size, dict(request.labels))
        if (lease := calling_lease()) is not None:
            await self._here.leases.add_resource(lease, "content", digest)
        live.offset, self.committed = size, True
        return digest


async def _refuse_known(content: Content, expected: str) -> None:
    if not expected:
        return
    digest = parse_digest(expected)
    try:
        await content.info(digest)
    except NotFound:
        return
    raise AlreadyExists("content", digest)
