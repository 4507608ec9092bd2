"""``containerd.services.leases.v1``: holds against garbage collection."""

import time
from datetime import datetime
from typing import Final

from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import NamespacedCalls, Service
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.model.faults import InvalidArgument, NotFound, Unimplemented
from sharedrt.model.ids import Digest, LeaseId, new_id, parse_digest
from sharedrt.model.records import LeaseRecord
from sharedrt.pb.codec import from_unix_ns, to_unix_ns
from sharedrt.pb.containerd.services.leases import v1 as pb
from sharedrt.wire.go_numbers import MAX_INT64

EXPIRE_LABEL: Final = "containerd.io/gc.expire"
"""RFC 3339 time at which a lease ends by itself."""
_CONTENT: Final = "content"


class LeasesService(NamespacedCalls, Service, pb.LeasesBase):
    """Leases as rows; the collector reads them."""

    async def create(self, create_request: pb.CreateRequest) -> pb.CreateResponse:
        labels = dict(create_request.labels)
        record = LeaseRecord(
            id=LeaseId(create_request.id or new_id()),
            labels=labels,
            created_ns=time.time_ns(),
            expires_ns=_expiry(labels.get(EXPIRE_LABEL, "")),
        )
        return pb.CreateResponse(lease=_render(await self.here().leases.create(record)))

    async def delete(self, delete_request: pb.DeleteRequest) -> Empty:
        """End a lease; what it alone has held is removed at once.

        Importing and pulling clients hold all that they write by a lease, and end it when the image has its
        name: what the image does not need (an archive's own index, say) goes then.
        """
        here = self.here()
        record = await self._find(delete_request.id)
        await here.leases.delete(record.id)
        await here.images.release({Digest(id) for kind, id in record.resources if kind == _CONTENT})
        return Empty()

    async def list(self, list_request: pb.ListRequest) -> pb.ListResponse:
        found = select(
            await self.here().leases.list(),
            list_request.filters,
            lambda r: fields_of({"id": r.id}, {"labels": r.labels}),
        )
        return pb.ListResponse(leases=[_render(record) for record in found])

    async def add_resource(self, add_resource_request: pb.AddResourceRequest) -> Empty:
        resource = add_resource_request.resource
        _check_resource(resource)
        await self.here().leases.add_resource(
            LeaseId(add_resource_request.id), resource.type, resource.id
        )
        return Empty()

    async def delete_resource(self, delete_resource_request: pb.DeleteResourceRequest) -> Empty:
        resource = delete_resource_request.resource
        await self.here().leases.delete_resource(
            LeaseId(delete_resource_request.id), resource.type, resource.id
        )
        return Empty()

    async def list_resources(
        self, list_resources_request: pb.ListResourcesRequest
    ) -> pb.ListResourcesResponse:
        record = await self._find(list_resources_request.id)
        return pb.ListResourcesResponse(
            resources=[pb.Resource(type=kind, id=id) for kind, id in record.resources]
        )

    async def _find(self, id: str) -> LeaseRecord:
        for record in await self.here().leases.list():
            if record.id == id:
                return record
        raise NotFound("lease", id)


def _check_resource(resource: pb.Resource) -> None:
    """As containerd takes them: content, ingests, and snapshots of a named snapshotter."""
    if not resource.type or not resource.id:
        raise InvalidArgument("resource", resource.id, "needs an id and a type")
    kind, slash, snapshotter = resource.type.partition("/")
    match kind:
        case "content" | "ingests" if slash:
            raise InvalidArgument("resource type", resource.type, "has no parts")
        case "content":
            parse_digest(resource.id)
        case "ingests":
            return
        case "snapshots":
            if not snapshotter or "/" in snapshotter:
                raise InvalidArgument("resource type", resource.type, "must name a snapshotter")
        case _:
            raise Unimplemented(f"a lease's resource of type {resource.type}")


def _expiry(text: str) -> int:
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(f"label {EXPIRE_LABEL}", text, "not an RFC 3339 time") from error
    if moment.tzinfo is None:
        raise InvalidArgument(f"label {EXPIRE_LABEL}", text, "has no time zone")
    # 0 would be no end at all, and the database counts in 64 bits: to the year 2262.
    return min(max(to_unix_ns(moment), 1), MAX_INT64)


def _render(record: LeaseRecord) -> pb.Lease:
    return pb.Lease(
        id=record.id, created_at=from_unix_ns(record.created_ns), labels=dict(record.labels)
    )
