"""The calls about pods' stats and resources."""

import asyncio
import time
from collections.abc import Sequence

from sharedrt.edges.cri import render_sandbox
from sharedrt.edges.cri.context import CriContext, RuntimePart
from sharedrt.edges.cri.filters import select_sandboxes
from sharedrt.edges.cri.names import checked_id
from sharedrt.edges.cri.render_stats import cpu, io, memory, network, processes
from sharedrt.edges.cri.stats import Measured, measure_running
from sharedrt.edges.cri.translate_resources import resources_of
from sharedrt.model.drivers import CgroupStats, CpuStats, MemoryStats
from sharedrt.model.faults import NotFound
from sharedrt.model.records import SandboxRecord, SandboxState
from sharedrt.pb.runtime import v1 as pb


class PodStatsCalls(RuntimePart):
    async def pod_sandbox_stats(
        self, pod_sandbox_stats_request: pb.PodSandboxStatsRequest
    ) -> pb.PodSandboxStatsResponse:
        id = checked_id("pod_sandbox_id", pod_sandbox_stats_request.pod_sandbox_id)
        return pb.PodSandboxStatsResponse(stats=await _stats_of(self.context, self.pods.get(id)))

    async def list_pod_sandbox_stats(
        self, list_pod_sandbox_stats_request: pb.ListPodSandboxStatsRequest
    ) -> pb.ListPodSandboxStatsResponse:
        """Of ready pods: others use nothing."""
        records = select_sandboxes(self.pods, list_pod_sandbox_stats_request.filter)
        return pb.ListPodSandboxStatsResponse(stats=await stats_of_pods(self.context, records))

    async def update_pod_sandbox_resources(
        self, update_pod_sandbox_resources_request: pb.UpdatePodSandboxResourcesRequest
    ) -> pb.UpdatePodSandboxResourcesResponse:
        """The kubelet tells what it has changed: the pod's cgroup is its own."""
        request = update_pod_sandbox_resources_request
        record = self.pods.get(checked_id("pod_sandbox_id", request.pod_sandbox_id))
        await self.pods.update_resources(
            record.id, resources_of(request.overhead), resources_of(request.resources)
        )
        return pb.UpdatePodSandboxResourcesResponse()


async def stats_of_pods(
    context: CriContext, records: Sequence[SandboxRecord]
) -> list[pb.PodSandboxStats]:
    """Of those that are ready, in their order; what goes meanwhile is left out."""

    async def one(record: SandboxRecord) -> pb.PodSandboxStats | None:
        try:
            return await _stats_of(context, record)
        except NotFound:
            return None

    context.forget_gone()
    ready = [record for record in records if record.state is SandboxState.READY]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(record)) for record in ready]
    return [stats for task in tasks if (stats := task.result()) is not None]


async def _stats_of(context: CriContext, record: SandboxRecord) -> pb.PodSandboxStats:
    pods = context.services.pods
    measured = await measure_running(context, pods.containers_of(record.id))
    pod = await pods.stats(record.id)
    total = pod.cgroup or summed(measured)
    nano_cores = context.cpu_rates.update(record.id, total.time_ns, total.cpu.total_ns)
    linux = pb.LinuxPodSandboxStats(
        cpu=cpu(total.time_ns, total.cpu, total.cpu_pressure, nano_cores),
        memory=memory(total.time_ns, total.memory, total.memory_pressure),
        process=processes(total.time_ns, total.pids_current),
        io=io(total.time_ns, total.io_pressure),
        containers=[one.rendered for one in measured],
    )
    if (usage := network(time.time_ns(), pod.networks)) is not None:
        linux.network = usage
    return pb.PodSandboxStats(attributes=render_sandbox.attributes(record), linux=linux)


def summed(measured: Sequence[Measured]) -> CgroupStats:
    """For a pod without a cgroup of its own: what its containers use together, without a limit."""
    stats = [one.cgroup for one in measured]
    memories = [one.memory for one in stats]
    return CgroupStats(
        time_ns=max((one.time_ns for one in stats), default=time.time_ns()),
        cpu=CpuStats(total_ns=sum(one.cpu.total_ns for one in stats)),
        memory=MemoryStats(
            usage_bytes=sum(m.usage_bytes for m in memories),
            working_set_bytes=sum(m.working_set_bytes for m in memories),
            rss_bytes=sum(m.rss_bytes for m in memories),
            page_faults=sum(m.page_faults for m in memories),
            major_page_faults=sum(m.major_page_faults for m in memories),
        ),
        pids_current=sum(one.pids_current for one in stats),
    )
