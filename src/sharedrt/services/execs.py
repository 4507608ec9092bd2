"""Processes started inside running containers (:class:`sharedrt.services.contracts.Execs`)."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import ExecResult, OciRuntime
from sharedrt.model.faults import (
    AlreadyDone,
    FailedPrecondition,
    Fault,
    InvalidArgument,
    StartFailed,
)
from sharedrt.model.ids import ContainerId, ContainerKey, ExecId, Namespace, new_id
from sharedrt.model.records import ContainerRecord, ExecRecord
from sharedrt.model.stdio import StdioSession
from sharedrt.model.stores import Transaction
from sharedrt.services.containers import ContainerLife
from sharedrt.services.containers.rows import attributes
from sharedrt.services.contracts import NewExec
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)

ENDED_KEPT_S: Final = 600.0
"""How long one that has ended can be asked about: about as long as at dockerd."""
_REMOVED_MAX: Final = 100
"""In one transaction."""


class ExecService:
    """Execs of one namespace. A record lives as long as its container, and no longer than a while after the exec's end:
    a container that lives for months may have one a second."""

    def __init__(
        self,
        namespace: Namespace,
        records: WorkingSet[ExecRecord],
        life: ContainerLife,
        events: NamespacedEvents,
        runtime: OciRuntime,
        owner: TaskOwner,
    ) -> None:
        self._namespace = namespace
        self._records = records
        self._life = life
        self._events = events
        self._runtime = runtime
        self._owner = owner
        self._sessions: dict[ExecId, StdioSession] = {}
        self._pids: dict[ExecId, int] = {}
        self._ended: deque[tuple[float, ExecId]] = deque()
        """Those that have ended, and when, on the loop's clock; the first to end first."""

    async def create(self, request: NewExec) -> ExecRecord:
        return await self._owner.finish(self._create(request), "create exec")

    async def _create(self, request: NewExec) -> ExecRecord:
        if not request.args:
            raise InvalidArgument("command", "", "no exec command specified")
        container = self._runnable(request.container_id)
        record = self._new(request)
        if record.user:
            # Whom the container does not know is told now, not in the stream of the start.
            key = ContainerKey(self._namespace, record.container_id)
            await self._runtime.check_exec(key, record)
        old = self._take_old()

        def write(tx: Transaction) -> None:
            tx.execs.add(record)
            for id in old:
                tx.execs.delete(id)

        def show() -> None:
            self._records.put(record)
            for id in old:
                self._records.drop(id)

        try:
            await self._events.commit(
                write,
                self._event(container, record, f"exec_create: {' '.join(record.args)}"),
                then=show,
            )
        except BaseException:
            self._ended.extendleft((0.0, id) for id in old)
            raise
        return record

    def _take_old(self) -> list[ExecId]:
        """Those that ended long ago: whoever makes a new one removes them, at no cost of its own."""
        before = asyncio.get_running_loop().time() - ENDED_KEPT_S
        old: list[ExecId] = []
        while self._ended and self._ended[0][0] <= before and len(old) < _REMOVED_MAX:
            old.append(self._ended.popleft()[1])
        return old

    def _note_end(self, id: ExecId) -> None:
        self._ended.append((asyncio.get_running_loop().time(), id))

    async def start(
        self, id: ExecId, *, detach: bool = False, size: tuple[int, int] | None = None
    ) -> StdioSession | None:
        return await self._owner.finish(self._start(id, detach, size), "start exec")

    async def _start(
        self, id: ExecId, detach: bool, size: tuple[int, int] | None
    ) -> StdioSession | None:
        record = self._records.by_id(id)
        if record.running or record.exit_code is not None:
            raise AlreadyDone("exec", id, "started")
        container = self._runnable(record.container_id)
        record = self._records.put(replace(record, running=True))
        try:
            session = await self._runtime.exec(
                ContainerKey(self._namespace, record.container_id),
                record,
                kill_on_close=False,
                on_pid=lambda pid: self._pids.__setitem__(id, pid),
                size=size,
            )
        except BaseException as error:
            code = error.exit_code if isinstance(error, StartFailed) else 126
            self._keep(replace(record, running=False, exit_code=code))
            self._note_end(id)
            self._pids.pop(id, None)
            raise
        record = self._keep(replace(record, pid=self._pids.pop(id, 0)))
        self._sessions[id] = session
        self._owner.spawn(self._see_end(id, session), f"exec {id[:12]}")
        if detach:
            self._owner.spawn(_drain(session), f"drain exec {id[:12]}")
        await self._record(
            record, self._event(container, record, f"exec_start: {' '.join(record.args)}")
        )
        return None if detach else session

    def _keep(self, record: ExecRecord) -> ExecRecord:
        """Bring it up to date, unless it has gone with its container meanwhile."""
        if self._records.find(record.id) is not None:
            self._records.put(record)
        return record

    async def _record(self, record: ExecRecord, event: NewEvent) -> None:
        """What cannot be recorded does not make an exec fail: it may be the one that makes room on the disk."""

        def put(tx: Transaction) -> None:
            stored = tx.execs.get(record.id)
            if stored is not None and stored.exit_code is None:
                tx.execs.put(record)

        try:
            await self._events.commit(put, event)
        except Fault as fault:
            log.warning("cannot record an exec", exec=record.id, error=str(fault))

    async def _see_end(self, id: ExecId, session: StdioSession) -> None:
        code = await session.wait()
        self._sessions.pop(id, None)
        self._note_end(id)
        record = self._records.find(id)
        if record is None:
            return
        record = self._records.put(replace(record, running=False, exit_code=code))
        container = self._life.find(record.container_id)
        if container is None:
            return
        await self._record(record, self._event(container, record, "exec_die", exitCode=str(code)))

    async def resize(self, id: ExecId, width: int, height: int) -> None:
        self._records.by_id(id)
        session = self._sessions.get(id)
        if session is None:
            raise FailedPrecondition("exec", id, "is not running")
        await session.resize(width, height)

    def get(self, id: str) -> ExecRecord:
        return self._records.by_id(id)

    def of_container(self, id: ContainerId) -> Sequence[ExecRecord]:
        """All execs of a container that is still there."""
        return [record for record in self._records if record.container_id == id]

    async def run(self, request: NewExec, *, kill_on_close: bool = True) -> StdioSession:
        self._runnable(request.container_id)
        key = ContainerKey(self._namespace, request.container_id)
        return await self._runtime.exec(key, self._new(request), kill_on_close=kill_on_close)

    async def sync(
        self, container_id: ContainerId, args: Sequence[str], *, timeout_s: float
    ) -> ExecResult:
        self._runnable(container_id)
        key = ContainerKey(self._namespace, container_id)
        return await self._runtime.exec_sync(key, args, timeout_s=timeout_s)

    def forget_container(self, id: ContainerId) -> None:
        """The container is gone, and its execs with it."""
        for record in self.of_container(id):
            self._records.drop(record.id)

    async def recover(self) -> None:
        """Execs that ran under an earlier daemon have lost their streams and their exit code."""
        for record in self._records.list():
            if record.running:
                record = self._records.put(replace(record, running=False, pid=0, exit_code=255))
            if record.exit_code is not None:
                self._note_end(record.id)

    def _runnable(self, id: ContainerId) -> ContainerRecord:
        container = self._life.running(id)
        if container.paused:
            raise FailedPrecondition(
                "container", id, "is paused, unpause the container before exec"
            )
        return container

    def _new(self, request: NewExec) -> ExecRecord:
        return ExecRecord(
            id=ExecId(new_id()),
            container_id=request.container_id,
            args=request.args,
            env=request.env,
            cwd=request.cwd,
            user=request.user,
            tty=request.tty,
            attach_stdin=request.attach_stdin,
            attach_stdout=request.attach_stdout,
            attach_stderr=request.attach_stderr,
            privileged=request.privileged,
            detach_keys=request.detach_keys,
            console_size=request.console_size,
            created_ns=time.time_ns(),
        )

    def _event(
        self, container: ContainerRecord, record: ExecRecord, action: str, **more: str
    ) -> NewEvent:
        details = {**attributes(container), "execID": record.id, **more}
        return NewEvent("container", action, container.id, details)


async def _drain(session: StdioSession) -> None:
    """Nobody listens: read and forget, so that a full pipe does not stop the process."""
    try:
        await session.close_stdin()
        while await session.read() is not None:
            pass
    except asyncio.CancelledError:
        await session.close()
        raise
    await session.close()
