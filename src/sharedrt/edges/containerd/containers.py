"""``containerd.services.containers.v1``: the namespace's containers and pods, whoever made them.

A pod is a container here, as containerd has it, told by a label; cAdvisor in a kubelet looks for that.

Making or changing one here is refused: containerd's Create stores metadata to which the client adds a task and a
snapshot of its own, while a container of this daemon is made whole, through CRI or the Docker API.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import NamespacedCalls, Service, refusal
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.edges.containerd.oci_spec import pod_spec_of, spec_of
from sharedrt.edges.containerd.pods import CONTAINER_KIND, KIND_LABEL, SANDBOX_KIND, find_pod
from sharedrt.edges.containerd.version import SNAPSHOTTER
from sharedrt.model.records import ContainerRecord, SandboxRecord
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd.services.containers import v1 as pb
from sharedrt.wire.containerd_filter import Fields

_ELSEWHERE: Final = "containers are made and removed through CRI or the Docker API"


class ContainersService(NamespacedCalls, Service, pb.ContainersBase):
    """Reads the working set; ids are full ones, as in containerd."""

    async def get(self, get_container_request: pb.GetContainerRequest) -> pb.GetContainerResponse:
        id = get_container_request.id
        if (pod := find_pod(self.here(), id)) is not None:
            return pb.GetContainerResponse(container=self._render_pod(pod))
        record = self.here().containers.by_id(id)
        return pb.GetContainerResponse(container=self._render(record))

    async def list(
        self, list_containers_request: pb.ListContainersRequest
    ) -> pb.ListContainersResponse:
        found = self._select(list_containers_request.filters)
        return pb.ListContainersResponse(containers=[*found])

    async def list_stream(
        self, list_containers_request: pb.ListContainersRequest
    ) -> AsyncIterator[pb.ListContainerMessage]:
        for container in self._select(list_containers_request.filters):
            yield pb.ListContainerMessage(container=container)

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

    def _select(self, filters: Sequence[str]) -> Sequence[pb.Container]:
        here = self.here()
        found = [self._render(record) for record in here.containers.list()]
        found += [self._render_pod(record) for record in here.pods.list()]
        return select(found, filters, _fields)

    def _handler(self, name: str) -> str:
        return name or self._runtime.host.default_runtime

    def _render(self, record: ContainerRecord) -> pb.Container:
        changed_ns = max(record.created_ns, record.started_ns, record.finished_ns)
        labels = dict(record.labels)
        if record.sandbox_id is not None:
            labels[KIND_LABEL] = CONTAINER_KIND
        return pb.Container(
            id=record.id,
            labels=labels,
            image=record.image_reference,
            runtime=pb.ContainerRuntime(name=self._handler(record.runtime_handler)),
            snapshotter=SNAPSHOTTER if record.snapshot_key else "",
            snapshot_key=record.snapshot_key or "",
            created_at=from_unix_ns(record.created_ns),
            updated_at=from_unix_ns(changed_ns),
            spec=spec_of(record),
            sandbox=record.sandbox_id or "",
        )

    def _render_pod(self, record: SandboxRecord) -> pb.Container:
        return pb.Container(
            id=record.id,
            labels={**record.labels, KIND_LABEL: SANDBOX_KIND},
            runtime=pb.ContainerRuntime(name=self._handler(record.runtime_handler)),
            created_at=from_unix_ns(record.created_ns),
            updated_at=from_unix_ns(record.created_ns),
            spec=pod_spec_of(record),
            sandbox=record.id,
        )


def _fields(container: pb.Container) -> Fields:
    return fields_of(
        {"id": container.id, "image": container.image, "runtime.name": container.runtime.name},
        {"labels": container.labels},
    )
