"""``containerd.services.tasks.v1``: the running processes of containers, to look at and to signal.

A task is a container that has been started and still has its process; containerd's stopped tasks, which wait for
their Delete, do not exist here: conmon has reaped them. A pod is asked for by those who want a process that sees its
network (cAdvisor): Get names one, and nothing else here knows pods.
"""

from collections.abc import Sequence
from typing import Final

from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import NamespacedCalls, Service, refusal
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.edges.containerd.pods import find_pod
from sharedrt.model.faults import NotFound
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd.services.tasks import v1 as pb
from sharedrt.pb.containerd.v1.types import Process, ProcessInfo, Status

_ELSEWHERE: Final = "containers are started through CRI or the Docker API"


class TasksService(NamespacedCalls, Service, pb.TasksBase):
    """Lists, waits, signals, pauses; creating and deleting are the other doors' part."""

    async def list(self, list_tasks_request: pb.ListTasksRequest) -> pb.ListTasksResponse:
        filters = [list_tasks_request.filter] if list_tasks_request.filter else []
        found = select(self._running(), filters, lambda r: fields_of({"id": r.id}))
        return pb.ListTasksResponse(tasks=[_render(record) for record in found])

    async def get(self, get_request: pb.GetRequest) -> pb.GetResponse:
        _no_exec("Tasks.Get", get_request.exec_id)
        id = get_request.container_id
        if (pid := self._process_of_pod(id)) is not None:
            process = Process(container_id=id, id=id, pid=pid, status=Status.RUNNING)
            return pb.GetResponse(process=process)
        return pb.GetResponse(process=_render(self._task(id)))

    async def kill(self, kill_request: pb.KillRequest) -> Empty:
        _no_exec("Tasks.Kill", kill_request.exec_id)
        if kill_request.all:
            raise refusal("Tasks.Kill with all", "only the first process can be signalled")
        record = self._task(kill_request.container_id)
        await self.here().containers.kill(record.id, str(kill_request.signal))
        return Empty()

    async def pause(self, pause_task_request: pb.PauseTaskRequest) -> Empty:
        record = self._task(pause_task_request.container_id)
        await self.here().containers.pause(record.id)
        return Empty()

    async def resume(self, resume_task_request: pb.ResumeTaskRequest) -> Empty:
        record = self._task(resume_task_request.container_id)
        await self.here().containers.unpause(record.id)
        return Empty()

    async def list_pids(self, list_pids_request: pb.ListPidsRequest) -> pb.ListPidsResponse:
        record = self._task(list_pids_request.container_id)
        pids = await self.here().containers.processes(record.id)
        return pb.ListPidsResponse(processes=[ProcessInfo(pid=pid) for pid in pids])

    async def wait(self, wait_request: pb.WaitRequest) -> pb.WaitResponse:
        _no_exec("Tasks.Wait", wait_request.exec_id)
        record = self._task(wait_request.container_id)
        ended = await self.here().containers.wait(record.id)
        return pb.WaitResponse(
            exit_status=ended.exit_code, exited_at=from_unix_ns(ended.finished_ns)
        )

    async def create(self, create_task_request: pb.CreateTaskRequest) -> pb.CreateTaskResponse:
        raise refusal("Tasks.Create", _ELSEWHERE)

    async def start(self, start_request: pb.StartRequest) -> pb.StartResponse:
        raise refusal("Tasks.Start", _ELSEWHERE)

    def _running(self) -> Sequence[ContainerRecord]:
        return [r for r in self.here().containers.list() if r.state is ContainerState.RUNNING]

    def _process_of_pod(self, id: str) -> int | None:
        """``None``: not a pod, or one without a process now."""
        if (pod := find_pod(self.here(), id)) is None:
            return None
        return self.here().pods.first_process(pod.id) or None

    def _task(self, id: str) -> ContainerRecord:
        record = self.here().containers.by_id(id)
        if record.state is not ContainerState.RUNNING:
            raise NotFound("task", id)
        return record


def _no_exec(method: str, exec_id: str) -> None:
    if exec_id:
        raise refusal(f"{method} of an exec")


def _render(record: ContainerRecord) -> Process:
    return Process(
        container_id=record.id,
        id=record.id,
        pid=record.pid,
        status=Status.PAUSED if record.paused else Status.RUNNING,
        terminal=record.spec.tty,
    )
