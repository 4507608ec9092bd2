"""``containerd.services.containers.v1``: the namespace's containers, whoever made them.

Making or changing one here is refused: containerd's Create stores metadata to which the client adds a task and a
snapshot of its own, while a container of this daemon is made whole, through CRI or the Docker API.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import NamespacedCalls, Service, refusal
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.edges.containerd.oci_spec import spec_of
from sharedrt.edges.containerd.version import SNAPSHOTTER
from sharedrt.model.records import ContainerRecord
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd.services.containers import v1 as pb
from sharedrt.wire.containerd_filter import Fields

_ELSEWHERE: Final = "containers are made and removed through CRI or the Docker API"


class ContainersService(NamespacedCalls, Service, pb.ContainersBase):
    """Reads the working set; ids are full ones, as in containerd."""

    async def get(self, get_container_request: pb.GetContainerRequest) -> pb.GetContainerResponse:
        record = self.here().containers.by_id(get_container_request.id)
        return pb.GetContainerResponse(container=self._render(record))

    async def list(
        self, list_containers_request: pb.ListContainersRequest
    ) -> pb.ListContainersResponse:
        found = self._select(list_containers_request.filters)
        return pb.ListContainersResponse(containers=[self._render(r) for r in found])

    async def list_stream(
        self, list_containers_request: pb.ListContainersRequest
    ) -> AsyncIterator[pb.ListContainerMessage]:
        for record in self._select(list_containers_request.filters):
            yield pb.ListContainerMessage(container=self._render(record))

    async def create(
        self, create_container_request: pb.CreateContainerRequest
    ) -> pb.CreateContainerResponse:
        raise refusal("Containers.Create", _ELSEWHERE)

    async def update(
        self, update_container_request: pb.UpdateContainerRequest
    ) -> pb.UpdateContainerResponse:
        raise refusal("Containers.Update", _ELSEWHERE)

    async def delete(self, delete_container_request: pb.DeleteContainerRequest) -> Empty:
        raise refusal("Containers.Delete", _ELSEWHERE)

    def _select(self, filters: Sequence[str]) -> Sequence[ContainerRecord]:
        return select(self.here().containers.list(), filters, self._fields)

    def _fields(self, record: ContainerRecord) -> Fields:
        return fields_of(
            {
                "id": record.id,
                "image": record.image_reference,
                "runtime.name": self._handler(record),
            },
            {"labels": record.labels},
        )

    def _handler(self, record: ContainerRecord) -> str:
        return record.runtime_handler or self._runtime.host.default_runtime

    def _render(self, record: ContainerRecord) -> pb.Container:
        changed_ns = max(record.created_ns, record.started_ns, record.finished_ns)
        return pb.Container(
            id=record.id,
            labels=dict(record.labels),
            image=record.image_reference,
            runtime=pb.ContainerRuntime(name=self._handler(record)),
            snapshotter=SNAPSHOTTER if record.snapshot_key else "",
            snapshot_key=record.snapshot_key or "",
            created_at=from_unix_ns(record.created_ns),
            updated_at=from_unix_ns(changed_ns),
            spec=spec_of(record),
            sandbox=record.sandbox_id or "",
        )
