"""The calls about containers' stats."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sharedrt.edges.cri.context import CriContext, RuntimePart
from sharedrt.edges.cri.filters import select_containers
from sharedrt.edges.cri.names import checked_id
from sharedrt.edges.cri.render_stats import container_stats
from sharedrt.model.drivers import CgroupStats
from sharedrt.model.faults import FailedPrecondition, NotFound
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.pb.runtime import v1 as pb


@dataclass(frozen=True, slots=True)
class Measured:
    """A running container's figures, and their message."""

    record: ContainerRecord
    cgroup: CgroupStats
    rendered: pb.ContainerStats


class StatsCalls(RuntimePart):
    async def container_stats(
        self, container_stats_request: pb.ContainerStatsRequest
    ) -> pb.ContainerStatsResponse:
        """Of a container that does not run, its attributes and writable layer alone."""
        id = checked_id("container_id", container_stats_request.container_id)
        record = self.containers.get(id)
        cgroup = await _cgroup_stats(self.context, record)
        return pb.ContainerStatsResponse(stats=await _render(self.context, record, cgroup))

    async def list_container_stats(
        self, list_container_stats_request: pb.ListContainerStatsRequest
    ) -> pb.ListContainerStatsResponse:
        """Of running containers, as every runtime has it: the kubelet has no use for others."""
        filter = list_container_stats_request.filter
        records = select_containers(self.containers, self.pods, filter)
        return pb.ListContainerStatsResponse(stats=await running_stats(self.context, records))


async def running_stats(
    context: CriContext, records: Sequence[ContainerRecord]
) -> list[pb.ContainerStats]:
    """The messages alone of :func:`measure_running`."""
    context.forget_gone()
    return [one.rendered for one in await measure_running(context, records)]


async def measure_running(
    context: CriContext, records: Sequence[ContainerRecord]
) -> list[Measured]:
    """Those that run, in their order; what ends or goes meanwhile is left out."""

    async def one(record: ContainerRecord) -> Measured | None:
        async with context.measuring:
            # Nothing below may have to wait; without a turn given here all would run in one.
            await asyncio.sleep(0)
            try:
                cgroup = await _cgroup_stats(context, record)
                if cgroup is None:
                    return None
                return Measured(record, cgroup, await _render(context, record, cgroup))
            except NotFound:
                return None

    running = [record for record in records if record.state is ContainerState.RUNNING]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(record)) for record in running]
    return [measured for task in tasks if (measured := task.result()) is not None]


async def _render(
    context: CriContext, record: ContainerRecord, cgroup: CgroupStats | None
) -> pb.ContainerStats:
    """Raises NotFound: removed meanwhile."""
    measured_ns, usage = await context.layer_usage.of(record.id)
    nano_cores = None
    if cgroup is not None:
        nano_cores = context.cpu_rates.update(record.id, cgroup.time_ns, cgroup.cpu.total_ns)
    return container_stats(
        record,
        cgroup,
        nano_cores=nano_cores,
        writable=usage,
        mountpoint=context.layers_mountpoint,
        time_ns=measured_ns,
    )


async def _cgroup_stats(context: CriContext, record: ContainerRecord) -> CgroupStats | None:
    if record.state is not ContainerState.RUNNING:
        return None
    try:
        return (await context.services.containers.stats(record.id, writable=False)).cgroup
    except FailedPrecondition:
        return None  # It has just ended.
