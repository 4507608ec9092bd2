"""Start, exit, stop: the state machine of one namespace's containers.

A start mounts, wires and creates, and commits the running row last: a daemon killed before leaves
things that no running row owns, which recovery removes. An end is committed first, before anything
that could tell of it again (conmon's exit file) is removed.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskHandle, TaskOwner
from sharedrt.model.drivers import (
    BundleRequest,
    ExitStatus,
    HostFiles,
    OciRuntime,
    ProcessIdentity,
)
from sharedrt.model.faults import (
    AlreadyDone,
    FailedPrecondition,
    Fault,
    Internal,
    NotFound,
    StartFailed,
)
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.model.stdio import StdioSession
from sharedrt.services.containers.attach import AttachSession
from sharedrt.services.containers.mounts import ContainerMounts
from sharedrt.services.containers.signals import parse_signal
from sharedrt.services.containers.snapshots import ContainerSnapshots
from sharedrt.services.containers.wiring import Wirer
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)

DEFAULT_GRACE_S: Final = 10.0
KILL_PATIENCE_S: Final = 120.0
"""How long an end may take after SIGKILL (a process in uninterruptible sleep) before we say so."""
_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_MAX_S: Final = 60.0
_BACKOFF_RESET_S: Final = 10.0
SIGKILL: Final = 9


@dataclass(slots=True)
class _Run:
    """One run of a container: from its start to the end of the clean-up after it."""

    settled: "asyncio.Future[ContainerRecord]"
    exited: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Waiters:
    next_exit: "list[asyncio.Future[ContainerRecord]]" = field(default_factory=list)
    removed: "list[asyncio.Future[ContainerRecord]]" = field(default_factory=list)


class ContainerLife:
    """Runs containers, sees them end, and follows their restart policies."""

    def __init__(
        self,
        namespace: Namespace,
        records: WorkingSet[ContainerRecord],
        events: NamespacedEvents,
        runtime: OciRuntime,
        snapshots: ContainerSnapshots,
        mounts: ContainerMounts,
        wirer: Wirer,
        host: HostFiles,
        owner: TaskOwner,
        boot_id: str,
    ) -> None:
        self._namespace = namespace
        self._records = records
        self._events = events
        self._runtime = runtime
        self._snapshots = snapshots
        self._mounts = mounts
        self._wirer = wirer
        self._host = host
        self._owner = owner
        self._boot_id = boot_id
        self.locks = KeyedLocks()
        self._runs: dict[ContainerId, _Run] = {}
        self._waiters: dict[ContainerId, _Waiters] = {}
        self._attaching: dict[ContainerId, list[AttachSession]] = {}
        self._restarts: dict[ContainerId, TaskHandle] = {}
        self._backoff_s: dict[ContainerId, float] = {}
        self.on_auto_remove: Callable[[ContainerId], None] | None = None

    def key(self, id: ContainerId) -> ContainerKey:
        return ContainerKey(self._namespace, id)

    # ------------------------------------------------------------ start

    async def start(self, id: ContainerId) -> None:
        async with self.locks.hold(id):
            record = self._records.by_id(id)
            if record.state is ContainerState.RUNNING and id in self._runs:
                raise AlreadyDone("container", id, "running")
            if record.sandbox_id is not None and record.state is not ContainerState.CREATED:
                raise FailedPrecondition("container", id, f"is {record.state.value}, not created")
            self._cancel_restart(id)
            await self._start(replace(record, stopped_by_client=False, restart_count=0))

    async def _start(self, record: ContainerRecord) -> None:
        try:
            identity = await self._launch(record)
        except BaseException as error:
            await self._owner.finish(self._undo_launch(record), "undo start")
            if isinstance(error, Fault):
                await self._start_failed(record, error)
            raise
        record = replace(
            record,
            state=ContainerState.RUNNING,
            paused=False,
            pid=identity.pid,
            pid_start_ticks=identity.start_ticks,
            started_ns=time.time_ns(),
            finished_ns=0,
            exit_code=0,
            reason="",
            message="",
            oom_killed=False,
            boot_id=self._boot_id,
        )
        await self._commit(record, "start")
        self._watch(record)
        # Those that came while it was being started.
        await self._bind_attaching(record)

    async def _launch(self, record: ContainerRecord) -> ProcessIdentity:
        key = self.key(record.id)
        rootfs = await self._snapshots.mount(record)
        wiring = await self._wirer.wire(record)
        mounts = await self._mounts.resolve(record, rootfs)
        if record.log_path:
            await self._host.make_folder(Path(record.log_path).parent)
        identity = await self._runtime.create(
            BundleRequest(
                key=key,
                handler=record.runtime_handler,
                rootfs=rootfs,
                spec=record.spec,
                image=record.image_defaults,
                hostname=wiring.hostname,
                cgroup_parent=wiring.cgroup_parent,
                namespace_paths=wiring.namespace_paths,
                host_namespaces=wiring.host_namespaces,
                mounts=(*wiring.mounts, *mounts),
                log_path=record.log_path,
                log_max_bytes=record.log_max_bytes,
                annotations=record.annotations,
            )
        )
        await self._bind_attaching(record)
        await self._runtime.start(key)
        return identity

    async def _bind_attaching(self, record: ContainerRecord) -> None:
        for waiting in self._attaching.pop(record.id, []):
            session = await self._runtime.attach(self.key(record.id), tty=record.spec.tty)
            if not waiting.bind(session):
                await session.close()

    async def clean(self, record: ContainerRecord) -> None:
        """Remove what a container that does not run may have left on the host."""
        await self._undo_launch(record)

    async def _undo_launch(self, record: ContainerRecord) -> None:
        """In reverse order; a step that fails is logged, so that it neither hides the first error nor
        stops the rest."""
        for step, undo in (
            ("runtime", self._runtime.delete(self.key(record.id))),
            ("network", self._wirer.unwire(record)),
            ("mounts", self._mounts.release(record)),
            ("snapshot", self._snapshots.unmount(record)),
        ):
            try:
                await undo
            except Fault as fault:
                log.warning(
                    "undo of a start failed", container=record.id, step=step, error=str(fault)
                )

    async def _start_failed(self, record: ContainerRecord, fault: Fault) -> None:
        code = fault.exit_code if isinstance(fault, StartFailed) else 128
        now = time.time_ns()
        record = replace(
            record,
            state=ContainerState.EXITED,
            exit_code=code,
            reason="StartError" if isinstance(fault, StartFailed) else "ContainerCannotRun",
            message=str(fault),
            finished_ns=now,
            started_ns=0,
            pid=0,
        )
        await self._commit(record, "die", {"exitCode": str(code)})
        for waiting in self._attaching.pop(record.id, []):
            waiting.fail(fault)
        self._tell_exit(record)
        if record.auto_remove and self.on_auto_remove is not None:
            self.on_auto_remove(record.id)

    # ------------------------------------------------------------ end

    def adopt(self, record: ContainerRecord) -> None:
        """Watch a container that an earlier daemon started; its end may have been long ago."""
        self._watch(record)

    def _watch(self, record: ContainerRecord) -> None:
        run = _Run(asyncio.get_running_loop().create_future())
        self._runs[record.id] = run
        self._owner.spawn(self._see_end(record.id, run), f"watch {record.id[:12]}")

    async def _see_end(self, id: ContainerId, run: _Run) -> None:
        record = self._records.by_id(id)
        identity = ProcessIdentity(record.pid, record.pid_start_ticks)
        status = await self._runtime.wait(self.key(id), identity)
        record = await self._record_end(self._records.by_id(id), status)
        run.exited.set()
        await self._undo_launch(record)
        del self._runs[id]
        run.settled.set_result(record)
        self._tell_exit(record)
        self._after_end(record)

    async def _record_end(self, record: ContainerRecord, status: ExitStatus) -> ContainerRecord:
        reason = "Completed" if status.exit_code == 0 else "Error"
        if status.oom_killed:
            reason = "OOMKilled"
        record = replace(
            record,
            state=ContainerState.EXITED,
            paused=False,
            pid=0,
            pid_start_ticks=0,
            exit_code=status.exit_code,
            finished_ns=status.finished_ns,
            oom_killed=status.oom_killed,
            reason=reason,
        )
        ran_s = (record.finished_ns - record.started_ns) / 1e9
        if ran_s >= _BACKOFF_RESET_S:
            self._backoff_s.pop(record.id, None)
        if status.oom_killed:
            await self._events.publish("container", "oom", record.id, attributes(record))
        await self._commit(record, "die", {"exitCode": str(status.exit_code)})
        return record

    def _tell_exit(self, record: ContainerRecord) -> None:
        if (waiters := self._waiters.get(record.id)) is not None:
            for future in waiters.next_exit:
                if not future.done():
                    future.set_result(record)
            waiters.next_exit.clear()

    def _after_end(self, record: ContainerRecord) -> None:
        if self._wants_restart(record):
            delay_s = self._backoff_s.get(record.id, _BACKOFF_FIRST_S)
            self._backoff_s[record.id] = min(delay_s * 2, _BACKOFF_MAX_S)
            self.schedule_restart(record.id, delay_s)
        elif record.auto_remove and self.on_auto_remove is not None:
            self.on_auto_remove(record.id)

    def _wants_restart(self, record: ContainerRecord) -> bool:
        if record.stopped_by_client or record.sandbox_id is not None:
            return False
        match record.restart_policy:
            case "always" | "unless-stopped":
                return True
            case "on-failure":
                allowed = record.restart_max_retries
                return record.exit_code != 0 and (not allowed or record.restart_count < allowed)
            case _:
                return False

    def schedule_restart(self, id: ContainerId, delay_s: float) -> None:
        """Start again after a while, unless somebody stops, starts or removes it before."""

        async def run() -> None:
            await asyncio.sleep(delay_s)
            async with self.locks.hold(id):
                self._restarts.pop(id, None)
                record = self._records.find(id)
                if record is None or record.state is ContainerState.RUNNING:
                    return
                try:
                    await self._start(replace(record, restart_count=record.restart_count + 1))
                except Fault as fault:
                    log.warning("restart failed", container=id, error=str(fault))

        self._cancel_restart(id)
        self._restarts[id] = self._owner.spawn(run(), f"restart {id[:12]}")

    def restarting(self, id: ContainerId) -> bool:
        """Whether a restart is due by policy (Docker's state ``restarting``)."""
        return id in self._restarts

    def _cancel_restart(self, id: ContainerId) -> None:
        if (task := self._restarts.pop(id, None)) is not None:
            task.cancel()

    # ------------------------------------------------------------ stop

    async def stop(self, id: ContainerId, grace_s: float | None, signal: str) -> None:
        async with self.locks.hold(id):
            record = self._records.by_id(id)
            waiting_for_restart = id in self._restarts
            self._cancel_restart(id)
            if record.restart_policy != "no" and not record.stopped_by_client:
                record = await self._commit(replace(record, stopped_by_client=True))
            if id not in self._runs:
                if waiting_for_restart:
                    return
                raise AlreadyDone("container", id, "stopped")
            await self._stop(record, grace_s, signal)

    async def restart(self, id: ContainerId, grace_s: float | None, signal: str) -> None:
        async with self.locks.hold(id):
            record = self._records.by_id(id)
            if record.sandbox_id is not None:
                raise FailedPrecondition("container", id, "belongs to a pod and runs only once")
            self._cancel_restart(id)
            if id in self._runs:
                # Keeps its end from being answered by the restart policy and by auto-remove.
                self._records.put(replace(record, stopped_by_client=True, auto_remove=False))
                await self._stop(self._records.by_id(id), grace_s, signal)
            current = self._records.by_id(id)
            await self._start(
                replace(
                    current,
                    stopped_by_client=False,
                    restart_count=0,
                    auto_remove=record.auto_remove,
                )
            )
            await self._events.publish("container", "restart", id, attributes(record))

    async def _stop(self, record: ContainerRecord, grace_s: float | None, signal: str) -> None:
        number = self.stop_signal(record, signal)
        if grace_s is None:
            grace_s = DEFAULT_GRACE_S
        if grace_s != 0:
            await self._signal(record, number)
            if await self._ended_within(record.id, grace_s if grace_s > 0 else None):
                await self._events.publish("container", "stop", record.id, attributes(record))
                return
        await self.kill_now(record)
        await self._events.publish("container", "stop", record.id, attributes(record))

    def stop_signal(self, record: ContainerRecord, asked: str = "") -> int:
        """The number of the signal that asks this container to end."""
        image = record.image_defaults.stop_signal
        return parse_signal(asked or record.spec.stop_signal or image or "SIGTERM")

    async def kill_now(self, record: ContainerRecord) -> None:
        """SIGKILL, and wait until all is cleaned up. Raises Internal when the kernel does not end it."""
        await self._signal(record, SIGKILL)
        if not await self._ended_within(record.id, KILL_PATIENCE_S):
            raise Internal(f"container {record.id}", "does not end after SIGKILL")

    async def _signal(self, record: ContainerRecord, number: int) -> None:
        try:
            await self._runtime.kill(self.key(record.id), number)
            if record.paused:
                # A frozen process gets no signal before it is thawed.
                await self._runtime.resume(self.key(record.id))
        except NotFound:
            log.debug("signal came after the end", container=record.id, signal=number)

    async def _ended_within(self, id: ContainerId, timeout_s: float | None) -> bool:
        run = self._runs.get(id)
        if run is None:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await run.exited.wait()
        except TimeoutError:
            return False
        await asyncio.shield(run.settled)
        return True

    async def kill(self, id: ContainerId, signal: str) -> None:
        record = self.running(id)
        number = parse_signal(signal)
        if number == SIGKILL or number == self.stop_signal(record):
            self._cancel_restart(id)
            if record.restart_policy != "no" and not record.stopped_by_client:
                record = await self._commit(replace(record, stopped_by_client=True))
        await self._runtime.kill(self.key(id), number)
        if record.paused and number == SIGKILL:
            await self._runtime.resume(self.key(id))
        details = {**attributes(record), "signal": str(number)}
        await self._events.publish("container", "kill", id, details)
        if number == SIGKILL and (run := self._runs.get(id)) is not None:
            await asyncio.shield(run.settled)

    async def end_for_removal(self, record: ContainerRecord) -> None:
        """Make sure that nothing of it runs and nothing will; the caller holds its lock."""
        self._cancel_restart(record.id)
        if record.id in self._runs:
            self._records.put(replace(record, stopped_by_client=True, auto_remove=False))
            await self.kill_now(record)

    def forget(self, record: ContainerRecord) -> None:
        """The container is gone: tell those who wait for that."""
        self._backoff_s.pop(record.id, None)
        for waiting in self._attaching.pop(record.id, []):
            waiting.fail(NotFound("container", record.id))
        if (waiters := self._waiters.pop(record.id, None)) is not None:
            for future in (*waiters.next_exit, *waiters.removed):
                if not future.done():
                    future.set_result(record)

    # ------------------------------------------------------------ pause

    async def pause(self, id: ContainerId) -> None:
        async with self.locks.hold(id):
            record = self.running(id)
            if record.paused:
                raise FailedPrecondition("container", id, "is already paused")
            await self._runtime.pause(self.key(id))
            await self._commit(replace(record, paused=True), "pause")

    async def unpause(self, id: ContainerId) -> None:
        async with self.locks.hold(id):
            record = self.running(id)
            if not record.paused:
                raise FailedPrecondition("container", id, "is not paused")
            await self._runtime.resume(self.key(id))
            await self._commit(replace(record, paused=False), "unpause")

    # ------------------------------------------------------------ waiting and attaching

    def is_running(self, id: ContainerId) -> bool:
        run = self._runs.get(id)
        return run is not None and not run.exited.is_set()

    def find(self, id: ContainerId) -> ContainerRecord | None:
        """Its record, if there is one."""
        return self._records.find(id)

    def running(self, id: ContainerId) -> ContainerRecord:
        """Its record. Raises NotFound, and FailedPrecondition when it does not run."""
        record = self._records.by_id(id)
        if not self.is_running(id):
            raise FailedPrecondition("container", id, "is not running")
        return record

    async def wait_end(self, id: ContainerId, *, next_exit: bool) -> ContainerRecord:
        record = self._records.by_id(id)
        if not next_exit and id not in self._runs and id not in self._restarts:
            return record
        return await self._wait(self._waiters.setdefault(id, _Waiters()).next_exit)

    async def wait_removed(self, id: ContainerId) -> ContainerRecord:
        self._records.by_id(id)
        return await self._wait(self._waiters.setdefault(id, _Waiters()).removed)

    async def _wait(self, waiters: "list[asyncio.Future[ContainerRecord]]") -> ContainerRecord:
        future: asyncio.Future[ContainerRecord] = asyncio.get_running_loop().create_future()
        waiters.append(future)
        try:
            return await future
        finally:
            if future in waiters:
                waiters.remove(future)

    async def attach(self, id: ContainerId) -> StdioSession:
        record = self._records.by_id(id)

        async def exit_code() -> int:
            return (await self.wait_end(id, next_exit=False)).exit_code

        session = AttachSession(tty=record.spec.tty, exit_code=exit_code)
        if self.is_running(id):
            session.bind(await self._runtime.attach(self.key(id), tty=record.spec.tty))
        else:
            self._attaching.setdefault(id, []).append(session)
        return session

    async def _commit(
        self, record: ContainerRecord, action: str = "", details: Mapping[str, str] | None = None
    ) -> ContainerRecord:
        events: tuple[NewEvent, ...] = ()
        if action:
            events = (
                NewEvent("container", action, record.id, {**attributes(record), **(details or {})}),
            )
        await self._events.commit(lambda tx: tx.containers.put(record), *events)
        return self._records.put(record)


def attributes(record: ContainerRecord) -> dict[str, str]:
    """What every event of a container tells: image, name, pod, and its labels."""
    known = {"image": record.image_reference, "name": record.name}
    if record.sandbox_id:
        known["sandbox"] = record.sandbox_id
    return {**record.labels, **known}
