"""Running health checks: one task for each container that runs and has one.

A result is committed with the health that it makes and the event that tells of it. Status and results outlive the
daemon; the next one goes on where this one was.
"""

import asyncio
import time
from dataclasses import replace
from typing import Final

import structlog

from sharedrt.aio.tasks import TaskHandle, TaskOwner
from sharedrt.model.drivers import OciRuntime
from sharedrt.model.faults import Fault, StartFailed
from sharedrt.model.ids import ContainerId, ContainerKey, ExecId, Namespace, new_id
from sharedrt.model.records import ContainerRecord, ContainerState, ExecRecord, HealthResult
from sharedrt.model.spec import HealthCheck
from sharedrt.model.stdio import StdioSession
from sharedrt.services.containers.health_rules import (
    OUTPUT_BYTES,
    after,
    delay_s,
    shown_output,
)
from sharedrt.services.containers.rows import ContainerRows
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)

_START_S: Final = 30.0
_NOT_RUN: Final = -1
"""The exit code of a check that could not be started, or was not waited for."""


class _Over(Exception):
    """The run that a check belonged to has ended."""


class HealthMonitors:
    """One namespace's checks."""

    def __init__(
        self,
        namespace: Namespace,
        records: WorkingSet[ContainerRecord],
        rows: ContainerRows,
        runtime: OciRuntime,
        owner: TaskOwner,
    ) -> None:
        self._namespace = namespace
        self._records = records
        self._rows = rows
        self._runtime = runtime
        self._owner = owner
        self._running: dict[ContainerId, TaskHandle] = {}

    def begin(self, record: ContainerRecord) -> None:
        """Check it from now on, if it has a check and is not frozen."""
        self.end(record.id)
        check = record.spec.health_check
        if check is not None and not record.paused:
            work = self._watch(record.id, record.started_ns, check)
            self._running[record.id] = self._owner.spawn(work, f"health of {record.id[:12]}")

    def end(self, id: ContainerId) -> None:
        """Check it no more; a check that runs is killed."""
        if (task := self._running.pop(id, None)) is not None:
            task.cancel()

    async def _watch(self, id: ContainerId, started_ns: int, check: HealthCheck) -> None:
        try:
            while True:
                record = self._of_run(id, started_ns)
                assert record.health is not None
                age_ns = time.time_ns() - started_ns
                await asyncio.sleep(delay_s(record.health, check, age_ns=age_ns))
                record = self._of_run(id, started_ns)
                await self._note(record, check, await self._check(record, check))
        except _Over:
            log.debug("checks are over", container=id)

    def _of_run(self, id: ContainerId, started_ns: int) -> ContainerRecord:
        """The record, as long as it is of this run."""
        record = self._records.find(id)
        if record is None:
            raise _Over
        return _same_run(record, started_ns)

    async def _note(
        self, record: ContainerRecord, check: HealthCheck, result: HealthResult
    ) -> None:
        assert record.health is not None
        started_ns = record.started_ns
        health = after(record.health, check, result, running_since_ns=started_ns)
        changed = health.status is not record.health.status
        actions = (f"health_status: {health.status.value}",) if changed else ()
        try:
            await self._rows.change(
                record.id,
                lambda current: replace(_same_run(current, started_ns), health=health),
                *actions,
            )
        except Fault as fault:
            log.warning("cannot record a check", container=record.id, error=str(fault))

    # ------------------------------------------------------------ one check

    async def _check(self, record: ContainerRecord, check: HealthCheck) -> HealthResult:
        """Run it once. Raises nothing: what goes wrong is a result."""
        exec_record = ExecRecord(
            id=ExecId(new_id()),
            container_id=record.id,
            args=check.args,
            created_ns=time.time_ns(),
        )
        id, command = exec_record.id, " ".join(check.args)
        await self._rows.tell(record, f"exec_create: {command}", execID=id)
        await self._rows.tell(record, f"exec_start: {command}", execID=id)
        began_ns = time.time_ns()
        code, output = await self._run(record, exec_record, check.timeout_s)
        ended_ns = time.time_ns()
        if code != _NOT_RUN:
            await self._rows.tell(record, "exec_die", execID=id, exitCode=str(code))
        return HealthResult(began_ns, ended_ns, code, output)

    async def _run(
        self, record: ContainerRecord, exec_record: ExecRecord, timeout_s: float
    ) -> tuple[int, str]:
        """(exit code, what is shown of the output)."""
        key = ContainerKey(self._namespace, record.id)
        output = _Output()
        try:
            # To start it is our time, not its.
            async with asyncio.timeout(_START_S):
                session = await self._runtime.exec(key, exec_record, kill_on_close=True)
        except TimeoutError:
            return _NOT_RUN, f"Health check could not be started within {_seconds(_START_S)}"
        except StartFailed as fault:
            return _NOT_RUN, fault.reason
        except Fault as fault:
            return _NOT_RUN, str(fault)
        try:
            async with session, asyncio.timeout(timeout_s):
                code = await _finish(session, output)
        except TimeoutError:
            words = f"Health check exceeded timeout ({_seconds(timeout_s)})"
            return _NOT_RUN, f"{words}: {output}" if output.data else words
        except Fault as fault:
            return _NOT_RUN, str(fault)
        return code, str(output)


class _Output:
    """The first bytes of a check's output."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.cut = False

    def add(self, data: bytes) -> None:
        room = OUTPUT_BYTES - len(self.data)
        self.cut = self.cut or len(data) > room
        self.data += data[:room]

    def __str__(self) -> str:
        return shown_output(bytes(self.data), cut=self.cut)


async def _finish(session: StdioSession, output: _Output) -> int:
    while (item := await session.read()) is not None:
        output.add(item[1])
    return await session.wait()


def _same_run(record: ContainerRecord, started_ns: int) -> ContainerRecord:
    if record.state is not ContainerState.RUNNING or record.started_ns != started_ns:
        raise _Over
    return record


def _seconds(seconds: float) -> str:
    """As Go prints a duration of this size: ``1s``, ``500ms``."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
