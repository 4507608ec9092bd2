"""``containerd.services.content.v1``: the blobs that the namespace may see, and writing new ones."""

from collections.abc import AsyncIterator
from typing import Final

from betterproto.lib.google.protobuf import Empty
from grpclib import GRPCError, Status

from sharedrt.edges.containerd.call import NamespacedCalls, Service, calling_namespace
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.edges.containerd.ingests import Ingests, LiveIngest
from sharedrt.edges.containerd.masks import label_change
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import parse_digest
from sharedrt.model.records import BlobRecord
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd.services.content import v1 as pb
from sharedrt.services.contracts import Runtime

_PER_MESSAGE: Final = 100
"""Blobs in one message of a List: well below gRPC's 4 MiB, however many labels they have."""
_CHUNK_BYTES: Final = 1 << 20
"""Of Read; also what the content store reads at once."""


class ContentService(NamespacedCalls, Service, pb.ContentBase):
    """Content by digest, ingests by reference."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._ingests = Ingests()

    async def info(self, info_request: pb.InfoRequest) -> pb.InfoResponse:
        record = await self.here().content.info(parse_digest(info_request.digest))
        return pb.InfoResponse(info=_render(record))

    async def update(self, update_request: pb.UpdateRequest) -> pb.UpdateResponse:
        wanted = update_request.info
        change, _ = label_change(update_request.update_mask, wanted.labels)
        content = self.here().content
        record = await content.info(parse_digest(wanted.digest))
        if change is not None:
            record = await content.set_labels(record.digest, change.apply(record.labels))
        return pb.UpdateResponse(info=_render(record))

    async def list(
        self, list_content_request: pb.ListContentRequest
    ) -> AsyncIterator[pb.ListContentResponse]:
        found = select(
            await self.here().content.list(),
            list_content_request.filters,
            lambda r: fields_of({"digest": r.digest}, {"labels": r.labels}),
        )
        for start in range(0, len(found), _PER_MESSAGE):
            part = found[start : start + _PER_MESSAGE]
            yield pb.ListContentResponse(info=[_render(record) for record in part])

    async def delete(self, delete_content_request: pb.DeleteContentRequest) -> Empty:
        await self.here().content.delete(parse_digest(delete_content_request.digest))
        return Empty()

    async def read(
        self, read_content_request: pb.ReadContentRequest
    ) -> AsyncIterator[pb.ReadContentResponse]:
        content = self.here().content
        record = await content.info(parse_digest(read_content_request.digest))
        offset, length = read_content_request.offset, read_content_request.size
        if offset < 0 or offset > record.size:
            raise GRPCError(
                Status.OUT_OF_RANGE, f"offset {offset} is past the end, {record.size} bytes"
            )
        wanted = length if length > 0 else None
        async for data in content.read(record.digest, offset=offset, length=wanted):
            for start in range(0, len(data), _CHUNK_BYTES):
                chunk = data[start : start + _CHUNK_BYTES]
                yield pb.ReadContentResponse(offset=offset, data=chunk)
                offset += len(chunk)

    async def status(self, status_request: pb.StatusRequest) -> pb.StatusResponse:
        live = self._ingests.find(calling_namespace(), status_request.ref)
        if live is None:
            raise NotFound("ingest", status_request.ref)
        return pb.StatusResponse(status=_render_status(live))

    async def list_statuses(
        self, list_statuses_request: pb.ListStatusesRequest
    ) -> pb.ListStatusesResponse:
        found = select(
            self._ingests.list(calling_namespace()),
            list_statuses_request.filters,
            lambda live: fields_of({"ref": live.ref}),
        )
        return pb.ListStatusesResponse(statuses=[_render_status(live) for live in found])

    async def write(
        self, write_content_request_iterator: AsyncIterator[pb.WriteContentRequest]
    ) -> AsyncIterator[pb.WriteContentResponse]:
        """See :class:`.ingests.Write` for one message; a client that goes away leaves the ingest to be resumed."""
        here = self.here()
        first = await anext(write_content_request_iterator, None)
        if first is None:
            return
        async with self._ingests.open(here, first) as write:
            yield await write.step(first)
            if write.committed:
                return
            async for request in write_content_request_iterator:
                yield await write.step(request)
                if write.committed:
                    return

    async def abort(self, abort_request: pb.AbortRequest) -> Empty:
        await self._ingests.abort(self.here(), abort_request.ref)
        return Empty()


def _render(record: BlobRecord) -> pb.Info:
    return pb.Info(
        digest=record.digest,
        size=record.size,
        created_at=from_unix_ns(record.created_ns),
        updated_at=from_unix_ns(record.updated_ns or record.created_ns),
        labels=dict(record.labels),
    )


def _render_status(live: LiveIngest) -> pb.Status:
    return pb.Status(
        started_at=from_unix_ns(live.started_ns),
        updated_at=from_unix_ns(live.updated_ns),
        ref=live.ref,
        offset=live.offset,
        total=live.total,
        expected=live.expected,
    )
