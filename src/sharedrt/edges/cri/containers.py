"""The calls about containers."""

from contextlib import suppress
from pathlib import Path

from sharedrt.edges.cri.context import RuntimePart
from sharedrt.edges.cri.extension import config_bytes
from sharedrt.edges.cri.filters import select_containers
from sharedrt.edges.cri.info import container_info
from sharedrt.edges.cri.names import checked_container_metadata, checked_id, container_name
from sharedrt.edges.cri.translate_container import new_container
from sharedrt.edges.cri.translate_resources import resources_of
from sharedrt.model.faults import (
    AlreadyDone,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
)
from sharedrt.model.records import ContainerRecord, ContainerState, SandboxRecord
from sharedrt.pb.codec import Encoded, is_present
from sharedrt.pb.runtime import v1 as pb


class ContainerCalls(RuntimePart):
    async def create_container(
        self, create_container_request: pb.CreateContainerRequest
    ) -> pb.CreateContainerResponse:
        """A repeated call while the first still runs, or before the container is started, is answered
        with the first one's container."""
        request = create_container_request
        sandbox = self.pods.get(checked_id("pod_sandbox_id", request.pod_sandbox_id))
        checked_container_metadata(request.config.metadata)
        # Under an owner of ours, so that the name's lock outlives a caller who gives up waiting.
        record = await self.context.owner.finish(
            self._create(sandbox, request.config), "create container"
        )
        return pb.CreateContainerResponse(container_id=record.id)

    async def _create(self, sandbox: SandboxRecord, config: pb.ContainerConfig) -> ContainerRecord:
        name = container_name(config.metadata, sandbox)
        async with self.context.locks.hold(name):
            if (made := self._made_before(name, config)) is not None:
                return made
            new = await new_container(config, sandbox, self.context.host, self.containers.get)
            return await self.containers.create(new)

    def _made_before(self, name: str, config: pb.ContainerConfig) -> ContainerRecord | None:
        try:
            record = self.containers.get(name)
        except NotFound:
            return None
        same = config_bytes(record.extensions) == bytes(config)
        return record if same and record.state is ContainerState.CREATED else None

    async def start_container(
        self, start_container_request: pb.StartContainerRequest
    ) -> pb.StartContainerResponse:
        await self.containers.start(self._get(start_container_request.container_id).id)
        return pb.StartContainerResponse()

    async def stop_container(
        self, stop_container_request: pb.StopContainerRequest
    ) -> pb.StopContainerResponse:
        """Idempotent. ``timeout`` is in seconds; 0 kills at once."""
        request = stop_container_request
        if request.timeout < 0:
            raise InvalidArgument("timeout", request.timeout, "must not be negative")
        with suppress(NotFound, AlreadyDone):  # stopped is what the client wants it to be
            record = self._get(request.container_id)
            await self.containers.stop(record.id, grace_s=float(request.timeout))
        return pb.StopContainerResponse()

    async def remove_container(
        self, remove_container_request: pb.RemoveContainerRequest
    ) -> pb.RemoveContainerResponse:
        """Idempotent; kills one that runs."""
        try:
            record = self._get(remove_container_request.container_id)
            await self.containers.remove(record.id, force=True)
        except NotFound:
            return pb.RemoveContainerResponse()
        self.context.users.forget(record.id)
        return pb.RemoveContainerResponse()

    async def list_containers(  # type: ignore[override]  # grpclib's codec takes it encoded
        self, list_containers_request: pb.ListContainersRequest
    ) -> Encoded:
        items = self.context.container_items
        items.retain(self.containers.list())
        records = select_containers(self.containers, self.pods, list_containers_request.filter)
        return items.join(pb.ListContainersResponse, records)

    async def container_status(
        self, container_status_request: pb.ContainerStatusRequest
    ) -> pb.ContainerStatusResponse:
        record = self._get(container_status_request.container_id)
        if not container_status_request.verbose:
            return pb.ContainerStatusResponse(status=self.context.container_status(record))
        runtime_spec = await self.containers.runtime_spec(record.id)
        record = self._get(record.id)
        return pb.ContainerStatusResponse(
            status=self.context.container_status(record),
            info=container_info(
                record, self.pods, runtime_spec, self.context.runtime.host.default_runtime
            ),
        )

    async def update_container_resources(
        self, update_container_resources_request: pb.UpdateContainerResourcesRequest
    ) -> pb.UpdateContainerResourcesResponse:
        """Limits of a container that has not ended. Its OOM score stays as it was created, as in other
        runtimes: the kubelet sends it along with every resize."""
        request = update_container_resources_request
        record = self._get(request.container_id)
        if is_present(request.windows):
            raise Unimplemented("a Windows container")
        if record.state not in (ContainerState.CREATED, ContainerState.RUNNING):
            raise FailedPrecondition("container", record.id, f"is {record.state.value}")
        await self.containers.update(record.id, resources_of(request.linux))
        return pb.UpdateContainerResourcesResponse()

    async def checkpoint_container(
        self, checkpoint_container_request: pb.CheckpointContainerRequest
    ) -> pb.CheckpointContainerResponse:
        """Into the file ``location``; ``timeout`` is in seconds, 0: no bound. The container runs on."""
        request = checkpoint_container_request
        record = self._get(request.container_id)
        if request.timeout < 0:
            raise InvalidArgument("timeout", request.timeout, "must not be negative")
        await self.context.services.checkpoints.write(
            record.id, Path(request.location), timeout_s=float(request.timeout)
        )
        return pb.CheckpointContainerResponse()

    async def reopen_container_log(
        self, reopen_container_log_request: pb.ReopenContainerLogRequest
    ) -> pb.ReopenContainerLogResponse:
        record = self._get(reopen_container_log_request.container_id)
        await self.containers.reopen_log(record.id)
        return pb.ReopenContainerLogResponse()

    def _get(self, ref: str) -> ContainerRecord:
        """By full or short id."""
        return self.containers.get(checked_id("container_id", ref))
