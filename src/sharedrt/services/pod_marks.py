"""Which process stands for a pod, and the cgroup that shows the pod to a kubelet's cAdvisor.

A pod has no process of its own unless it shares its PID namespace. cAdvisor asks once, when it sees the pod's cgroup,
for a process whose view of the network it may read from then on. So that cgroup is there as long as a container runs,
and is made anew when another one has to stand for the pod: cAdvisor then asks again.

Nothing waits for it: a container's start and end are told here, and a task follows. What a killed daemon leaves is
found by the pod's row, and says itself which container it was made for; a pod that ends takes its mark along.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import PodCgroups
from sharedrt.model.faults import Fault
from sharedrt.model.ids import SandboxId
from sharedrt.model.records import ContainerRecord, ContainerState, SandboxRecord, SandboxState
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)

AGENTS_BACK_S: Final = 4.0
"""After a start of ours: cAdvisor, which asks once, tries to connect again every 3 s at the latest."""


class PodMarks:
    """Of one namespace's pods.

    Args:
        containers_of: a pod's containers.
        locks: the pods' own, by id: a pod that ends and its mark do not cross.
    """

    def __init__(
        self,
        cgroups: PodCgroups,
        records: WorkingSet[SandboxRecord],
        containers_of: Callable[[SandboxId], Sequence[ContainerRecord]],
        locks: KeyedLocks,
        owner: TaskOwner,
    ) -> None:
        self._cgroups = cgroups
        self._records = records
        self._containers_of = containers_of
        self._locks = locks
        self._owner = owner
        self._shown: dict[SandboxId, str] = {}
        """The container that each mark was made for; empty: there is no mark."""
        self._due: set[SandboxId] = set()
        self._agents_back = asyncio.Event()

    def process_of(self, record: SandboxRecord) -> int:
        """Host pid of the process that stands for the pod: its own first one, or its oldest container's; 0: none."""
        if record.pause_pid:
            return record.pause_pid
        oldest = self._oldest(record.id)
        return oldest.pid if oldest is not None else 0

    def _oldest(self, id: SandboxId) -> ContainerRecord | None:
        """Of its containers that run."""
        running = [c for c in self._containers_of(id) if c.state is ContainerState.RUNNING]
        return min(running, key=lambda c: (c.started_ns, c.id), default=None)

    def note(self, id: SandboxId) -> None:
        """A container of that pod has started or ended."""
        record = self._records.find(id)
        if record is None or not _wants_mark(record) or id in self._due:
            return
        self._due.add(id)
        self._owner.spawn(self._settle(id), f"mark {id[:12]}")

    def begin(self) -> None:
        """Recovery is over, and doors are about to open: look at all marks, as soon as they can be asked about."""
        self._owner.spawn(self._begin(), "pods' marks")

    async def _begin(self) -> None:
        await asyncio.sleep(AGENTS_BACK_S)
        self._agents_back.set()
        for record in self._records:
            self.note(record.id)

    async def _settle(self, id: SandboxId) -> None:
        await self._agents_back.wait()
        async with self._locks.hold(id):
            self._due.discard(id)
            record = self._records.find(id)
            if record is None or record.state is not SandboxState.READY:
                return  # who ends it takes its mark along
            oldest = self._oldest(id)
            shown = oldest.id if oldest is not None else ""
            parent = record.spec.cgroup_parent
            try:
                if id not in self._shown:
                    self._shown[id] = await self._cgroups.pod_mark(parent, id)
                if self._shown[id] == shown:
                    return
                if shown:
                    await self._cgroups.mark_pod(parent, id, shown)
                else:
                    await self._cgroups.unmark_pod(parent, id)
            except Fault as fault:  # its figures are missing then; the pod is well
                log.warning("cannot mark a pod", sandbox=id, error=str(fault))
                return
            self._shown[id] = shown

    async def remove(self, record: SandboxRecord) -> None:
        """The pod ends; the caller holds its lock. Idempotent."""
        self._shown.pop(record.id, None)
        if not _wants_mark(record):
            return
        try:
            await self._cgroups.unmark_pod(record.spec.cgroup_parent, record.id)
        except Fault as fault:  # a kubelet removes the pod's cgroup with all below it
            log.warning("cannot remove a pod's mark", sandbox=record.id, error=str(fault))


def _wants_mark(record: SandboxRecord) -> bool:
    """Below a kubelet's own cgroups, and for a network of its own. With a first process there is a real cgroup."""
    spec = record.spec
    return bool(spec.cgroup_parent) and not spec.host_network and not spec.share_pid
