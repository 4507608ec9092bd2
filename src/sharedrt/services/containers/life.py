"""Start, exit, stop: the state machine of one namespace's containers.

A start mounts, wires and creates, and commits the running row last: a daemon killed before leaves
things that no running row owns, which recovery removes. An end is committed first, before anything
that could tell of it again (conmon's exit file) is removed.

The lock of a container is held by what starts, changes or removes it, and never while somebody waits for
its end: a removal by force, or a stop with a shorter grace, must not queue behind a long stop.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import ExitStatus, HostFiles, OciRuntime, ProcessIdentity
from sharedrt.model.faults import (
    AlreadyDone,
    FailedPrecondition,
    FailureWords,
    Fault,
    Internal,
    NotFound,
    StartFailed,
)
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.model.stdio import StdioSession
from sharedrt.services.containers import health_rules
from sharedrt.services.containers.attach import AttachSession, WaitingClients
from sharedrt.services.containers.health import HealthMonitors
from sharedrt.services.containers.launch import Launched, Launcher
from sharedrt.services.containers.log_forward import LogForwards
from sharedrt.services.containers.log_rotation import LogRotations
from sharedrt.services.containers.mounts import ContainerMounts
from sharedrt.services.containers.restarts import Restarts, wants_restart
from sharedrt.services.containers.restores import Restores
from sharedrt.services.containers.rows import ContainerRows
from sharedrt.services.containers.signals import parse_signal
from sharedrt.services.containers.snapshots import ContainerSnapshots
from sharedrt.services.containers.waiters import ExitWaiters
from sharedrt.services.containers.wiring import Wirer
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)

DEFAULT_GRACE_S: Final = 10.0
KILL_PATIENCE_S: Final = 120.0
"""How long an end may take after SIGKILL (a process in uninterruptible sleep) before we say so."""
CANNOT_START_CODE: Final = 128
"""Of a container that never ran, because of the host or of what it was asked to join."""
UNKNOWN_EXIT_CODE: Final = 255
"""Of a container that a reboot ended without leaving an exit status."""
_FIRST_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 30.0
SIGKILL: Final = 9


@dataclass(slots=True, eq=False)
class _Run:
    """One run of a container: from its start to the end of the clean-up after it.

    ``expected``: who ends it says what comes then, not the restart policy nor auto-remove.
    """

    settled: "asyncio.Future[None]"
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    expected: bool = False


class ContainerLife:
    """Runs containers, sees them end, and follows their restart policies."""

    def __init__(
        self,
        namespace: Namespace,
        records: WorkingSet[ContainerRecord],
        rows: ContainerRows,
        runtime: OciRuntime,
        snapshots: ContainerSnapshots,
        mounts: ContainerMounts,
        wirer: Wirer,
        host: HostFiles,
        rotations: LogRotations,
        forwards: LogForwards,
        owner: TaskOwner,
        boot_id: str,
        restores: Restores,
    ) -> None:
        self._records = records
        self._rows = rows
        self._runtime = runtime
        self._rotations = rotations
        self._forwards = forwards
        self._owner = owner
        self._boot_id = boot_id
        self.locks = KeyedLocks()
        self.restarts = Restarts(owner, self._restart_by_policy)
        self._health = HealthMonitors(namespace, records, rows, runtime, owner)
        self._waiting = WaitingClients()
        self._launcher = Launcher(
            namespace, runtime, snapshots, mounts, wirer, host, self._waiting, restores
        )
        self._runs: dict[ContainerId, _Run] = {}
        self._waiters = ExitWaiters()
        self.on_auto_remove: Callable[[ContainerId], None] | None = None
        self.on_change: Callable[[ContainerRecord], None] | None = None
        """Told of each start and end, when everybody can see it."""

    def key(self, id: ContainerId) -> ContainerKey:
        return self._launcher.key(id)

    @contextmanager
    def private_env(self, id: ContainerId, variables: tuple[str, ...]) -> Iterator[None]:
        """Variables (``KEY=value``) that a start inside the block gives to the process, and nobody keeps."""
        self._launcher.private_env[id] = variables
        try:
            yield
        finally:
            del self._launcher.private_env[id]

    # ------------------------------------------------------------ start

    async def start(self, id: ContainerId, words: FailureWords = str) -> None:
        async with self.locks.hold(id):
            record = self._records.by_id(id)
            if self.is_running(id):
                raise AlreadyDone("container", id, "running")
            if record.sandbox_id is not None and record.state is not ContainerState.CREATED:
                raise FailedPrecondition("container", id, f"is {record.state.value}, not created")
            self.restarts.begin_anew(id)
            await self._start(id, restart_count=0, words=words)

    async def _restart_by_policy(self, id: ContainerId) -> None:
        async with self.locks.hold(id):
            try:
                record = self._records.find(id)
                if record is None or self.is_running(id):
                    self.restarts.done(id)
                else:
                    await self._start(id, restart_count=record.restart_count + 1)
            except Fault as fault:
                self.restarts.done(id)
                log.warning("restart failed", container=id, error=str(fault))
            except Exception:
                self.restarts.done(id)
                raise

    async def _start(
        self, id: ContainerId, *, restart_count: int, words: FailureWords = str
    ) -> None:
        """The caller holds the lock."""
        if (before := self._runs.get(id)) is not None:
            # Its clean-up would take away what this start makes.
            await self._settled(id, before)
        record = self._records.by_id(id)
        await self._launcher.ensure_clean(record)
        running: ContainerRecord | None = None
        try:
            await self._forwards.check(record)
            launched = await self._launcher.launch(record)
            await self._launcher.bind_waiting(record)

            def run(current: ContainerRecord) -> ContainerRecord:
                nonlocal running
                running = self._as_running(current, launched, restart_count)
                return running

            await self._rows.change(id, run, "start", then=self._see_run)
        except BaseException as error:
            if self._records.find(id) is running:
                raise  # committed, then cancelled: the daemon stops, and the next one adopts it
            await self._launcher.undo(record)
            if isinstance(error, Exception):
                await self._start_failed(id, error, words)
            raise
        self._owner.spawn(self._launcher.forget_checkpoint(record), f"restored {id[:12]}")
        # Those that attached during the commit.
        self._owner.spawn(self._launcher.bind_waiting(record), f"attach {id[:12]}")

    def _see_run(self, record: ContainerRecord) -> None:
        """It runs, and everybody can see that from now on: no restart is due any more."""
        self.restarts.done(record.id)
        self._watch(record.id)
        self._accompany(record)
        if self.on_change is not None:
            self.on_change(record)

    def _as_running(
        self, record: ContainerRecord, launched: Launched, restart_count: int
    ) -> ContainerRecord:
        return replace(
            record,
            state=ContainerState.RUNNING,
            stopped_by_client=False,
            restart_count=restart_count,
            paused=False,
            pid=launched.identity.pid,
            pid_start_ticks=launched.identity.start_ticks,
            started_ns=launched.started_ns,
            finished_ns=0,
            exit_code=0,
            reason="",
            message="",
            oom_killed=False,
            health=health_rules.started(record),
            boot_id=self._boot_id,
        )

    async def _start_failed(self, id: ContainerId, error: Exception, words: FailureWords) -> None:
        """Record it, and tell those who wait; the caller raises the error. The times stay those of the last run.

        A pod's container tells of an end, as its watchers count on; one that is nobody's tells nothing, as at dockerd.
        """
        fault = error if isinstance(error, Fault) else Internal("start", str(error))
        before = self._records.by_id(id)
        known = fault.exit_code if isinstance(fault, StartFailed) else before.exit_code
        code = known or CANNOT_START_CODE
        reason = "StartError" if isinstance(fault, StartFailed) else "ContainerCannotRun"

        def failed(record: ContainerRecord) -> ContainerRecord:
            return replace(
                record,
                state=ContainerState.EXITED,
                exit_code=code,
                reason=reason,
                message=words(fault),
                finished_ns=record.finished_ns if record.started_ns else time.time_ns(),
                pid=0,
                pid_start_ticks=0,
            )

        actions = ("die",) if before.sandbox_id is not None else ()
        try:
            await self._rows.change(id, failed, *actions, details={"exitCode": str(code)})
        except Fault as lost:
            log.warning("cannot record a failed start", container=id, error=str(lost))
        self._waiting.fail(id, fault)
        record = self._records.by_id(id)
        self._waiters.tell_exit(record)
        if record.auto_remove and self.on_auto_remove is not None:
            self.on_auto_remove(id)

    # ------------------------------------------------------------ end

    async def adopt(self, record: ContainerRecord) -> None:
        """Watch a container that an earlier daemon started. Returns once an end that was missed is recorded."""
        run = self._watch(record.id)
        there = self._runtime.alive(ProcessIdentity(record.pid, record.pid_start_ticks))
        if record.boot_id != self._boot_id or not there:
            await run.exited.wait()
        else:
            self._accompany(record)

    def _accompany(self, record: ContainerRecord) -> None:
        """Begin what goes on as long as it runs."""
        self._health.begin(record)
        self._rotations.begin(record)
        self._forwards.begin(record, lambda: not self.is_running(record.id))

    async def clean(self, record: ContainerRecord) -> None:
        """Remove what a container that does not run may have left on the host."""
        await self._launcher.undo(record)

    def forward_rest(self, record: ContainerRecord) -> None:
        """Hand on what an earlier daemon has left of the log of one that has ended."""
        if not self.is_running(record.id):
            self._forwards.begin(record, lambda: not self.is_running(record.id))

    def _watch(self, id: ContainerId) -> _Run:
        run = self._runs[id] = _Run(asyncio.get_running_loop().create_future())
        self._owner.spawn(self._see_end(id, run), f"watch {id[:12]}")
        return run

    async def _see_end(self, id: ContainerId, run: _Run) -> None:
        try:
            status, reason = await self._status(self._records.by_id(id))
            # Who hears of the end may remove the networks that it was on.
            await self._launcher.unplug(self._records.by_id(id))
            record = await self._record_end(id, run, status, reason)
            run.exited.set()
            if self.on_change is not None:
                self.on_change(record)
            self._health.end(id)
            await self._rotations.end(id)
            await self._launcher.undo(record)
        finally:
            del self._runs[id]
            if not run.settled.done():
                run.settled.set_result(None)
        record = self._records.by_id(id)
        if not run.expected:
            self.restarts.schedule_after(record)
        self._waiters.tell_exit(record)
        if not run.expected and record.auto_remove and self.on_auto_remove is not None:
            self.on_auto_remove(id)

    async def _status(self, record: ContainerRecord) -> tuple[ExitStatus, str]:
        """How it ended, and CRI's word for that."""
        identity = ProcessIdentity(record.pid, record.pid_start_ticks)
        rebooted = record.boot_id != self._boot_id
        if rebooted:
            identity = ProcessIdentity(0, 0)  # another process may have that number now
        delay_s = _FIRST_RETRY_S
        status: ExitStatus | None = None
        while status is None:
            try:
                status = await self._runtime.wait(self.key(record.id), identity)
            except (Fault, OSError) as error:  # no file descriptor left, for one
                log.error("cannot watch; trying again", container=record.id, error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_RETRY_S)
        if rebooted and not status.known:
            return ExitStatus(UNKNOWN_EXIT_CODE, status.finished_ns, known=False), "Unknown"
        if status.oom_killed:
            return status, "OOMKilled"
        return status, "Error" if status.exit_code else "Completed"

    async def _record_end(
        self, id: ContainerId, run: _Run, status: ExitStatus, reason: str
    ) -> ContainerRecord:
        """Commit it, however long that takes (a full disk): what tells of it must stay until then."""

        def ended(record: ContainerRecord) -> ContainerRecord:
            made = replace(
                record,
                state=ContainerState.EXITED,
                paused=False,
                pid=0,
                pid_start_ticks=0,
                exit_code=status.exit_code,
                # A file's time comes of a coarser clock than ours.
                finished_ns=max(status.finished_ns, record.started_ns),
                oom_killed=status.oom_killed,
                health=health_rules.ended(record.health),
                reason=reason,
            )
            if not run.expected and wants_restart(made):
                self.restarts.announce(id)  # before anybody can see it ended
            return made

        actions = ("oom", "die") if status.oom_killed else ("die",)
        lasted_ns = max(status.finished_ns - self._records.by_id(id).started_ns, 0)
        details = {
            "exitCode": str(status.exit_code),
            "execDuration": str(lasted_ns // 1_000_000_000),
        }
        delay_s = _FIRST_RETRY_S
        while True:
            try:
                return await self._rows.change(id, ended, *actions, details=details)
            except Fault as fault:
                log.error("cannot record an end; trying again", container=id, error=str(fault))
                self._records.put(ended(self._records.by_id(id)))
                run.exited.set()
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_RETRY_S)

    # ------------------------------------------------------------ stop

    async def stop(self, id: ContainerId, grace_s: float | None, signal: str) -> None:
        async with self.locks.hold(id):
            record = self._records.by_id(id)
            number = self.stop_signal(record, signal)
            run = self._runs.get(id)
            was_due = self.restarts.cancel(id)
            if record.restart_policy != "no" and not record.stopped_by_client:
                record = await self._rows.change(id, lambda r: replace(r, stopped_by_client=True))
                # An end before that was answered by the policy.
                was_due = self.restarts.cancel(id) or was_due
            if was_due:
                self._waiters.tell_exit(record)
        if run is None or run.exited.is_set():
            if run is not None:
                await self._settled(id, run)
            if was_due:
                return
            raise AlreadyDone("container", id, "stopped")
        await self._end(id, run, number, grace_s)
        await self._rows.tell(record, "stop")

    async def restart(
        self, id: ContainerId, grace_s: float | None, signal: str, words: FailureWords = str
    ) -> None:
        async with self.locks.hold(id):
            record = self._records.by_id(id)
            if record.sandbox_id is not None:
                raise FailedPrecondition("container", id, "belongs to a pod and runs only once")
            number = self.stop_signal(record, signal)
            self.restarts.begin_anew(id)
            if (run := self._runs.get(id)) is not None:
                run.expected = True
        if run is not None:
            try:
                await self._end(id, run, number, grace_s)
            except BaseException:
                run.expected = False
                raise
            await self._rows.tell(record, "stop")
        async with self.locks.hold(id):
            if not self.is_running(id):
                await self._start(id, restart_count=0, words=words)
        await self._rows.tell(record, "restart")

    def stop_signal(self, record: ContainerRecord, asked: str = "") -> int:
        """The number of the signal that asks this container to end."""
        image = record.image_defaults.stop_signal
        return parse_signal(asked or record.spec.stop_signal or image or "SIGTERM")

    async def _end(self, id: ContainerId, run: _Run, number: int, grace_s: float | None) -> None:
        """Ask this run to end, then make it. Returns when all is cleaned up."""
        if grace_s is None:
            grace_s = DEFAULT_GRACE_S
        if grace_s != 0:
            await self._signal(id, run, number)
            try:
                async with asyncio.timeout(grace_s if grace_s > 0 else None):
                    await run.exited.wait()
            except TimeoutError:
                log.info("grace is over: killing", container=id, grace_s=grace_s)
        await self._kill_now(id, run)

    async def _kill_now(self, id: ContainerId, run: _Run) -> None:
        if not run.exited.is_set():
            await self._signal(id, run, SIGKILL)
        await self._settled(id, run)

    async def _settled(self, id: ContainerId, run: _Run) -> None:
        """Wait for the end and the clean-up. Raises Internal when that does not come."""
        try:
            async with asyncio.timeout(KILL_PATIENCE_S):
                await asyncio.shield(run.settled)
        except TimeoutError as error:
            reason = "cannot be cleaned up" if run.exited.is_set() else "does not end"
            raise Internal(f"container {id}", reason) from error

    async def _signal(self, id: ContainerId, run: _Run, number: int) -> None:
        if self._runs.get(id) is not run:
            return
        # Under way before the end can be, so that it is told before it.
        telling = self._owner.start(
            self._rows.tell(self._records.by_id(id), "kill", signal=str(number)),
            f"tell kill {id[:12]}",
        )
        try:
            await self._runtime.kill(self.key(id), number)
        except NotFound:
            log.debug("signal came after the end", container=id, signal=number)
        else:
            await self._thaw(id)
        await telling

    async def _thaw(self, id: ContainerId) -> None:
        """A frozen process gets no signal before it is thawed."""
        if (record := self._records.find(id)) is None or not record.paused:
            return
        try:
            await self._runtime.resume(self.key(id))
        except Fault as fault:  # it has ended meanwhile, or was not frozen after all
            log.debug("not thawed", container=id, error=str(fault))
        await self._rows.change(id, lambda r: replace(r, paused=False))

    async def kill(self, id: ContainerId, signal: str) -> None:
        """Of one that is about to start again, a signal that ends it ends that, as at dockerd."""
        record = self._records.by_id(id)
        number = parse_signal(signal)
        ends = number == SIGKILL or number == self.stop_signal(record)
        if not self.is_running(id) and self.restarts.due(id):
            if ends:
                await self._stop_restarting(id)
            return
        self.running(id)
        run = self._runs[id]
        if ends and record.restart_policy != "no" and not record.stopped_by_client:
            record = await self._rows.change(id, lambda r: replace(r, stopped_by_client=True))
        telling = self._owner.start(
            self._rows.tell(record, "kill", signal=str(number)), f"tell kill {id[:12]}"
        )
        try:
            await self._runtime.kill(self.key(id), number)
        except NotFound as error:
            if number != SIGKILL:
                raise FailedPrecondition("container", id, "is not running") from error
        if ends:
            await self._thaw(id)
        await telling
        if number == SIGKILL:
            await self._settled(id, run)

    async def _stop_restarting(self, id: ContainerId) -> None:
        try:
            await self.stop(id, 0.0, "")
        except AlreadyDone:
            log.debug("its last restart is over", container=id)

    async def end_for_removal(self, id: ContainerId) -> None:
        """Make sure that nothing of it runs and nothing will; the caller holds its lock."""
        self.restarts.cancel(id)
        if (run := self._runs.get(id)) is not None:
            run.expected = True
            try:
                await self._kill_now(id, run)
            except BaseException:
                run.expected = False
                raise
        await self._launcher.ensure_clean(self._records.by_id(id))
        await self._forwards.drain(id)

    def forget(self, record: ContainerRecord) -> None:
        """The container is gone: tell those who wait for that."""
        self.restarts.begin_anew(record.id)
        self._launcher.forget(record.id)
        self._waiting.fail(record.id, NotFound("container", record.id))
        self._waiters.tell_removal(record)

    # ------------------------------------------------------------ pause

    async def pause(self, id: ContainerId) -> None:
        """The row says so first: one that is frozen without a row that says so could not be thawed."""
        async with self.locks.hold(id):
            if self.running(id).paused:
                raise FailedPrecondition("container", id, "is already paused")
            record = await self._rows.change(id, lambda r: replace(r, paused=True))
            try:
                await self._runtime.pause(self.key(id))
            except BaseException:
                await self._rows.change(id, lambda r: replace(r, paused=False))
                raise
            self._health.end(id)
            await self._rows.tell(record, "pause")

    async def unpause(self, id: ContainerId) -> None:
        async with self.locks.hold(id):
            if not self.running(id).paused:
                raise FailedPrecondition("container", id, "is not paused")
            try:
                await self._runtime.resume(self.key(id))
            except FailedPrecondition as fault:  # a daemon was killed between row and freezer
                log.info("was not frozen", container=id, error=str(fault))
            record = await self._rows.change(id, lambda r: replace(r, paused=False), "unpause")
            self._health.begin(record)

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
        if not next_exit and id not in self._runs and not self.restarts.due(id):
            return record
        return await self._waiters.next_exit(id)

    async def wait_removed(self, id: ContainerId) -> ContainerRecord:
        self._records.by_id(id)
        return await self._waiters.removal(id)

    async def attach(self, id: ContainerId) -> StdioSession:
        tty = self._records.by_id(id).spec.tty

        async def exit_code() -> int:
            return (await self.wait_end(id, next_exit=False)).exit_code

        async def cleaned() -> None:
            async with self.locks.hold(id):  # its start may not be committed yet
                run, record = self._runs.get(id), self._records.find(id)
            if run is None or record is None:
                return
            if not self._runtime.alive(ProcessIdentity(record.pid, record.pid_start_ticks)):
                await asyncio.shield(run.settled)

        if not self.is_running(id):
            return self._waiting.add(id, tty=tty, exit_code=exit_code, cleaned=cleaned)
        session = AttachSession(tty=tty, exit_code=exit_code, cleaned=cleaned)
        session.bind(await self._runtime.attach(self.key(id), tty=tty))
        return session
