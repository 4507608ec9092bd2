"""``containerd.services.namespaces.v1``: the namespaces themselves. Needs no namespace in the metadata."""

import time

from betterproto import Message
from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import Service
from sharedrt.edges.containerd.envelopes import envelope
from sharedrt.edges.containerd.masks import label_change
from sharedrt.edges.containerd.published import PublishedEvents
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import Namespace, parse_namespace
from sharedrt.model.records import NamespaceRecord
from sharedrt.pb.containerd.events import NamespaceCreate, NamespaceDelete, NamespaceUpdate
from sharedrt.pb.containerd.services.namespaces import v1 as pb
from sharedrt.services.contracts import AllNamespaces


class NamespacesService(Service, pb.NamespacesBase):
    """Over the administrator's view."""

    def __init__(self, namespaces: AllNamespaces, published: PublishedEvents) -> None:
        self._namespaces, self._published = namespaces, published

    async def get(self, get_namespace_request: pb.GetNamespaceRequest) -> pb.GetNamespaceResponse:
        record = await self._find(get_namespace_request.name)
        return pb.GetNamespaceResponse(namespace=_render(record))

    async def list(
        self, list_namespaces_request: pb.ListNamespacesRequest
    ) -> pb.ListNamespacesResponse:
        # The request's filter is ignored by containerd too: its server never looked at it.
        records = await self._namespaces.list()
        return pb.ListNamespacesResponse(namespaces=[_render(r) for r in records])

    async def create(
        self, create_namespace_request: pb.CreateNamespaceRequest
    ) -> pb.CreateNamespaceResponse:
        wanted = create_namespace_request.namespace
        record = await self._namespaces.create(parse_namespace(wanted.name), wanted.labels)
        self._tell(record.name, "create", NamespaceCreate(name=record.name, labels=wanted.labels))
        return pb.CreateNamespaceResponse(namespace=_render(record))

    async def update(
        self, update_namespace_request: pb.UpdateNamespaceRequest
    ) -> pb.UpdateNamespaceResponse:
        wanted = update_namespace_request.namespace
        change, _ = label_change(update_namespace_request.update_mask, wanted.labels)
        record = await self._find(wanted.name)
        if change is not None:
            labels = change.apply(record.labels)
            record = await self._namespaces.set_labels(record.name, labels)
            self._tell(record.name, "update", NamespaceUpdate(name=record.name, labels=labels))
        return pb.UpdateNamespaceResponse(namespace=_render(record))

    async def delete(self, delete_namespace_request: pb.DeleteNamespaceRequest) -> Empty:
        name = parse_namespace(delete_namespace_request.name)
        await self._namespaces.delete(name)
        self._tell(name, "delete", NamespaceDelete(name=name))
        return Empty()

    def _tell(self, name: Namespace, action: str, message: Message) -> None:
        self._published.publish(envelope(name, time.time_ns(), f"/namespaces/{action}", message))

    async def _find(self, name: str) -> NamespaceRecord:
        for record in await self._namespaces.list():
            if record.name == name:
                return record
        raise NotFound("namespace", name)


def _render(record: NamespaceRecord) -> pb.Namespace:
    return pb.Namespace(name=record.name, labels=dict(record.labels))
