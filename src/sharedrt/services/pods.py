"""Pod sandboxes (:class:`sharedrt.services.contracts.Pods`): namespaces, network, shared files.

No pause process: namespaces are pinned by bind mounts. Only a pod that shares its PID namespace has
a first process, catatonit, run as an ordinary OCI container from an empty root.

``run`` writes its intent and the row (not ready) in one transaction, makes things, and commits ready with
the intent's end. Recovery undoes what has an intent left.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.completion import complete
from sharedrt.aio.groups import task_group
from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import (
    HostFiles,
    NetworkStats,
    OciRuntime,
    PodCgroups,
    ProcessIdentity,
    SandboxNamespaces,
)
from sharedrt.model.faults import (
    AlreadyDone,
    AlreadyExists,
    FailedPrecondition,
    Fault,
    NotFound,
    Unavailable,
)
from sharedrt.model.ids import (
    ContainerId,
    Namespace,
    OperationId,
    SandboxId,
    new_id,
)
from sharedrt.model.records import (
    ContainerRecord,
    OperationRecord,
    SandboxRecord,
    SandboxState,
)
from sharedrt.model.spec import (
    Resources,
)
from sharedrt.model.stores import Transaction
from sharedrt.services.containers import ContainerService
from sharedrt.services.contracts import NewSandbox, PodStats
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.layout import Layout
from sharedrt.services.networks import Networks
from sharedrt.services.pod_marks import PodMarks
from sharedrt.services.pod_network import PodNetwork
from sharedrt.services.pod_parts import PodParts
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)

RUN_OPERATION: Final = "sandbox.run"
CONNECT_TIMEOUT_S: Final = 10.0
_STOP_AGAIN_S: Final = 1.0
_STOP_AGAIN_MOST_S: Final = 300.0
_LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def pod_key(name: str, uid: str, pod_namespace: str, attempt: int) -> str:
    """What makes a pod's sandbox unique: the kubelet's own key, in the form of its container names."""
    return f"{name}_{pod_namespace}_{uid}_{attempt}"


def key_of(record: SandboxRecord) -> str:
    return pod_key(record.name, record.uid, record.pod_namespace, record.attempt)


class PodService:
    """Sandboxes of one namespace."""

    def __init__(
        self,
        namespace: Namespace,
        layout: Layout,
        records: WorkingSet[SandboxRecord],
        containers: Callable[[], ContainerService],
        events: NamespacedEvents,
        runtime: OciRuntime,
        namespaces: SandboxNamespaces,
        host: HostFiles,
        networks: Networks,
        pod_network: PodNetwork,
        cgroups: PodCgroups,
        owner: TaskOwner,
        boot_id: str,
        catatonit: str,
    ) -> None:
        self._records = records
        self._containers = containers
        self._events = events
        self._runtime = runtime
        self._namespaces = namespaces
        self._host = host
        self._pod_network = pod_network
        self._owner = owner
        self._boot_id = boot_id
        self._parts = PodParts(
            namespace, layout, runtime, namespaces, host, networks, pod_network, catatonit
        )
        self._locks = KeyedLocks()
        self._marks = PodMarks(cgroups, records, self.containers_of, self._locks, owner)

    # ------------------------------------------------------------ run

    async def run(self, request: NewSandbox) -> SandboxRecord:
        return await self._owner.finish(self._run(request), "run sandbox")

    async def _run(self, request: NewSandbox) -> SandboxRecord:
        name = pod_key(request.name, request.uid, request.pod_namespace, request.attempt)
        async with self._locks.hold(name):
            for record in self._records:
                if key_of(record) == name:
                    if record.state is SandboxState.READY:
                        return record
                    raise AlreadyExists("sandbox", name, record.id)
            if request.runtime_handler and request.runtime_handler not in self._runtime.handlers():
                raise NotFound("runtime handler", request.runtime_handler)
            record = SandboxRecord(
                id=SandboxId(new_id()),
                name=request.name,
                uid=request.uid,
                pod_namespace=request.pod_namespace,
                attempt=request.attempt,
                spec=request.spec,
                runtime_handler=request.runtime_handler,
                labels=request.labels,
                annotations=request.annotations,
                extensions=request.extensions,
                created_ns=time.time_ns(),
                boot_id=self._boot_id,
            )
            operation = OperationRecord(
                OperationId(record.id), RUN_OPERATION, record.id, created_ns=record.created_ns
            )

            def intend(tx: Transaction) -> None:
                tx.sandboxes.add(record)
                tx.operations.add(operation)

            await self._events.commit(intend)
            made = record

            def note(progress: SandboxRecord) -> None:
                nonlocal made
                made = progress

            try:
                await self._parts.make(record, note)
                ready = made = replace(made, state=SandboxState.READY)

                def commit(tx: Transaction) -> None:
                    tx.sandboxes.put(ready)
                    tx.operations.delete(operation.id)

                await self._events.commit(
                    commit,
                    self._event("create", ready),
                    self._event("start", ready),
                    then=lambda: self._records.put(ready),
                )
            except BaseException as error:
                # A commit that is cancelled (the daemon stops) is made all the same.
                if isinstance(error, Exception) or made.state is not SandboxState.READY:
                    await complete(self._undo_run(replace(made, state=SandboxState.NOT_READY)))
                raise
            self._watch_pause(ready)
            return ready

    async def _undo_run(self, record: SandboxRecord) -> None:
        """After a failed run: all away. When that fails too, the sandbox stays, not ready, for the client to stop
        and remove it again, or for recovery; the first error is the one that is shown."""
        try:
            await self._undo(record)
        except Fault as fault:
            log.error("cannot undo a failed run", sandbox=record.id, error=str(fault))
            self._records.put(record)

    async def _undo(self, record: SandboxRecord) -> None:
        """The row goes last, so that a crash here is recovered from."""
        await self._tear_down(record)

        def forget(tx: Transaction) -> None:
            tx.sandboxes.delete(record.id)
            tx.operations.delete(OperationId(record.id))

        await self._events.commit(forget)

    # ------------------------------------------------------------ stop and remove

    async def stop(self, id: SandboxId) -> None:
        await self._owner.finish(self._stop(id), "stop sandbox")

    async def _stop(self, id: SandboxId) -> None:
        async with self._locks.hold(id):
            record = self._records.by_id(id)
            if record.state is SandboxState.READY:
                # First of all no new container may come in, and a second stop finds what is left to do.
                record = await self._put(replace(record, state=SandboxState.NOT_READY))
            await self._stop_containers(id)
            if record.network_torn_down:
                return
            await self._tear_down(record)
            stopped = replace(record, network_torn_down=True, pause_pid=0, pause_start_ticks=0)
            await self._put(stopped, "stop")

    async def _stop_containers(self, id: SandboxId) -> None:
        """End them all, at the same time."""

        async def stop(container: ContainerId) -> None:
            try:
                await self._containers().stop(container, grace_s=0)
            except (AlreadyDone, NotFound):
                log.debug("ended already", container=container)

        async with task_group() as group:
            for container in self.containers_of(id):
                group.create_task(stop(container.id))

    async def _tear_down(self, record: SandboxRecord) -> None:
        await self._marks.remove(record)
        await self._parts.tear_down(record)

    async def remove(self, id: SandboxId) -> None:
        await self._owner.finish(self._remove(id), "remove sandbox")

    async def _remove(self, id: SandboxId) -> None:
        try:
            await self._stop(id)
        except NotFound:
            return
        async with self._locks.hold(id):
            record = self._records.find(id)
            if record is None:
                return
            for container in self.containers_of(id):
                try:
                    await self._containers().remove(container.id, force=True)
                except NotFound:
                    continue

            def delete(tx: Transaction) -> None:
                tx.sandboxes.delete(id)
                tx.operations.delete(OperationId(id))  # of a run that could not be undone

            await self._events.commit(
                delete, self._event("destroy", record), then=lambda: self._records.drop(id)
            )

    # ------------------------------------------------------------ look

    def get(self, ref: str) -> SandboxRecord:
        return self._records.get(ref)

    def list(self) -> Sequence[SandboxRecord]:
        return self._records.list()

    def containers_of(self, id: SandboxId) -> Sequence[ContainerRecord]:
        found = [record for record in self._containers().list() if record.sandbox_id == id]
        return sorted(found, key=lambda record: record.created_ns, reverse=True)

    def first_process(self, id: SandboxId) -> int:
        record = self._records.by_id(id)
        return self._marks.process_of(record) if record.state is SandboxState.READY else 0

    def container_changed(self, record: ContainerRecord) -> None:
        """A container has started, or ended."""
        if record.sandbox_id is not None:
            self._marks.note(record.sandbox_id)

    async def stats(self, id: SandboxId) -> PodStats:
        record = self._records.by_id(id)
        parent = record.spec.cgroup_parent
        cgroup = await self._runtime.parent_stats(parent) if parent else None
        networks: Sequence[NetworkStats] = ()
        if record.netns_path and record.state is SandboxState.READY:
            networks = await self._namespaces.network_stats(Path(record.netns_path))
        return PodStats(id, cgroup, tuple(networks))

    async def update_resources(
        self, id: SandboxId, overhead: Resources, resources: Resources
    ) -> None:
        async with self._locks.hold(id):
            record = self._records.by_id(id)
            spec = replace(record.spec, overhead=overhead, resources=resources)
            await self._put(replace(record, spec=spec))

    async def connect(self, id: SandboxId, port: int) -> socket.socket:
        record = self._records.by_id(id)
        if record.state is not SandboxState.READY:
            raise FailedPrecondition("sandbox", id, "is not ready")
        failure: OSError | None = None
        for family, address in _LOOPBACKS:
            sock = await self._socket(record, family)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await asyncio.get_running_loop().sock_connect(sock, (address, port))
                return sock
            except OSError as error:  # TimeoutError is one
                sock.close()
                failure = failure or error
            except BaseException:
                sock.close()
                raise
        number = failure.errno if failure is not None else None
        reason = os.strerror(number) if number else "timed out"
        raise Unavailable(f"port {port} in the pod", reason.lower()) from failure

    async def _socket(self, record: SandboxRecord, family: int) -> socket.socket:
        if record.spec.host_network:
            return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        fd = await self._namespaces.tcp_socket(Path(record.netns_path), family)
        return socket.socket(fileno=fd)

    def network_ready(self) -> tuple[bool, str, str]:
        return self._pod_network.ready()

    # ------------------------------------------------------------ recovery

    async def recover(self, unfinished: Sequence[OperationRecord]) -> None:
        """Undo runs that were never acknowledged; a sandbox of an earlier boot, or whose first process
        died, is not ready any more."""
        for operation in unfinished:
            if operation.kind == RUN_OPERATION:
                await self._recover_run(operation)
        for record in self._records.list():
            if record.state is not SandboxState.READY:
                continue
            if await self._alive(record):
                self._watch_pause(record)
            else:
                await self._ended(record)

    async def _recover_run(self, operation: OperationRecord) -> None:
        record = self._records.find(operation.subject)
        try:
            if record is None:
                await self._events.commit(lambda tx: tx.operations.delete(operation.id))
                return
            await self._undo(record)
        except Fault as fault:
            log.error("cannot undo a run", sandbox=operation.subject, error=str(fault))
            return
        self._records.drop(record.id)

    def resume(self) -> None:
        """Recovery is over: show pods to the node's agents, and free what sandboxes of an earlier boot still hold of
        their networks."""
        self._marks.begin()
        dead = [
            record.id
            for record in self._records
            if record.boot_id != self._boot_id and not record.network_torn_down
        ]
        if dead:
            self._owner.spawn(self._stop_dead(dead), "stop sandboxes of an earlier boot")

    async def _stop_dead(self, dead: Sequence[SandboxId]) -> None:
        """Until all are: what a network has given them (a plugin may not be back yet) is not to be lost for good, and
        their client may have no mind to stop them."""
        delay_s = _STOP_AGAIN_S
        while dead := [id for id in dead if not await self._stopped(id)]:
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _STOP_AGAIN_MOST_S)

    async def _stopped(self, id: SandboxId) -> bool:
        try:
            await self._stop(id)
        except NotFound:
            log.debug("removed meanwhile", sandbox=id)
        except Fault as fault:
            log.warning("cannot stop; will try again", sandbox=id, error=str(fault))
            return False
        return True

    def _watch_pause(self, record: SandboxRecord) -> None:
        if record.pause_pid:
            self._owner.spawn(self._see_pause_end(record), f"watch {record.id[:12]}")

    async def _see_pause_end(self, record: SandboxRecord) -> None:
        """With its first process a PID namespace ends: no container can start in it any more."""
        identity = ProcessIdentity(record.pause_pid, record.pause_start_ticks)
        await self._runtime.wait(self._parts.pause_key(record), identity)
        async with self._locks.hold(record.id):
            current = self._records.find(record.id)
            if current is not None and current.state is SandboxState.READY:
                log.warning("the first process of a pod has died", sandbox=record.id)
                await self._ended(current)

    async def _ended(self, record: SandboxRecord) -> None:
        """It is not ready any more, even where that cannot be written down: on a full disk the next start finds it."""
        ended = replace(record, state=SandboxState.NOT_READY)
        try:
            await self._put(ended, "stop")
        except Fault as fault:
            log.error("cannot record a pod's end", sandbox=record.id, error=str(fault))
            self._records.put(ended)

    async def _alive(self, record: SandboxRecord) -> bool:
        if record.boot_id != self._boot_id:
            return False
        if record.netns_path and not await self._host.exists(Path(record.netns_path)):
            return False
        if record.pause_pid:
            identity = ProcessIdentity(record.pause_pid, record.pause_start_ticks)
            return self._runtime.alive(identity)
        return True

    async def _put(self, record: SandboxRecord, action: str = "") -> SandboxRecord:
        events = (self._event(action, record),) if action else ()
        await self._events.commit(
            lambda tx: tx.sandboxes.put(record), *events, then=lambda: self._records.put(record)
        )
        return record

    def _event(self, action: str, record: SandboxRecord) -> NewEvent:
        known = {"name": record.name, "uid": record.uid, "podNamespace": record.pod_namespace}
        return NewEvent("sandbox", action, record.id, {**record.labels, **known})
