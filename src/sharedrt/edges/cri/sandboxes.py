"""The calls about pod sandboxes."""

import time
from contextlib import suppress

from sharedrt.edges.cri import render_sandbox
from sharedrt.edges.cri.context import RuntimePart
from sharedrt.edges.cri.filters import select_sandboxes
from sharedrt.edges.cri.info import sandbox_info
from sharedrt.edges.cri.names import checked_id
from sharedrt.edges.cri.translate_sandbox import new_sandbox
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import SandboxId
from sharedrt.pb.codec import Encoded
from sharedrt.pb.runtime import v1 as pb


class SandboxCalls(RuntimePart):
    async def run_pod_sandbox(
        self, run_pod_sandbox_request: pb.RunPodSandboxRequest
    ) -> pb.RunPodSandboxResponse:
        """A repeated call for a pod that is being made, or is ready, is answered with that one."""
        request = await new_sandbox(run_pod_sandbox_request, self.context.host)
        record = await self.pods.run(request)
        return pb.RunPodSandboxResponse(pod_sandbox_id=record.id)

    async def stop_pod_sandbox(
        self, stop_pod_sandbox_request: pb.StopPodSandboxRequest
    ) -> pb.StopPodSandboxResponse:
        """Idempotent: one that was never there is stopped."""
        id = self._find(stop_pod_sandbox_request.pod_sandbox_id)
        if id is not None:
            with suppress(NotFound):  # removed meanwhile
                await self.pods.stop(id)
        return pb.StopPodSandboxResponse()

    async def remove_pod_sandbox(
        self, remove_pod_sandbox_request: pb.RemovePodSandboxRequest
    ) -> pb.RemovePodSandboxResponse:
        """Idempotent. Takes its containers along."""
        id = self._find(remove_pod_sandbox_request.pod_sandbox_id)
        if id is not None:
            containers = self.pods.containers_of(id)
            await self.pods.remove(id)
            for container in containers:
                self.context.users.forget(container.id)
        return pb.RemovePodSandboxResponse()

    async def pod_sandbox_status(
        self, pod_sandbox_status_request: pb.PodSandboxStatusRequest
    ) -> pb.PodSandboxStatusResponse:
        request = pod_sandbox_status_request
        record = self.pods.get(checked_id("pod_sandbox_id", request.pod_sandbox_id))
        # The time first: what changes after it must be seen as newer by a kubelet that follows events.
        now = time.time_ns()
        containers = [self.context.container_status(c) for c in self.pods.containers_of(record.id)]
        return pb.PodSandboxStatusResponse(
            status=render_sandbox.status(record),
            info=sandbox_info(record, self.pods.first_process(record.id))
            if request.verbose
            else {},
            containers_statuses=containers,
            timestamp=now,
        )

    async def list_pod_sandbox(  # type: ignore[override]  # grpclib's codec takes it encoded
        self, list_pod_sandbox_request: pb.ListPodSandboxRequest
    ) -> Encoded:
        items = self.context.sandbox_items
        items.retain(self.pods.list())
        records = select_sandboxes(self.pods, list_pod_sandbox_request.filter)
        return items.join(pb.ListPodSandboxResponse, records)

    def _find(self, ref: str) -> SandboxId | None:
        try:
            return self.pods.get(checked_id("pod_sandbox_id", ref)).id
        except NotFound:
            return None
