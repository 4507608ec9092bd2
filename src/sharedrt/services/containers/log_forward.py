"""Handing log lines on to syslog or the journal: one task for each container that runs and wants it.

What is handed on is read from the log that conmon writes, so that a container never waits for another program, and
nothing is lost while that one, or this daemon, is away. How far it has come is kept in a file beside the log; a
daemon that is killed hands on a second's lines twice.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import (
    ForwardTarget,
    HostFiles,
    LogForwarder,
    LogLine,
    LogQuery,
    LogReader,
    LogSink,
)
from sharedrt.model.faults import Fault
from sharedrt.model.ids import ContainerId
from sharedrt.model.records import ContainerRecord
from sharedrt.services.layout import Layout
from sharedrt.wire.log_tag import render_tag, tag_fields

log = structlog.get_logger(__name__)

PLACE_FILE: Final = "forwarded"
DRAIN_S: Final = 5.0
"""How long the removal of a container waits for its last lines to be handed on."""
_KEEP_S: Final = 1.0
_FIRST_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 30.0


class Place:
    """How far in a log: all lines before ``time_ns``, and the first ``count`` of that very time (conmon gives all
    lines of one read the same)."""

    def __init__(self, time_ns: int = 0, count: int = 0) -> None:
        self.time_ns, self.count = time_ns, count

    @classmethod
    def parse(cls, data: bytes) -> "Place":
        """The beginning, when it is no place."""
        try:
            time_ns, count = data.split()
            return cls(int(time_ns), int(count))
        except ValueError:
            return cls()

    def dump(self) -> bytes:
        return b"%d %d\n" % (self.time_ns, self.count)

    def after(self, lines: Sequence[LogLine]) -> None:
        """All of these have been handed on."""
        for line in lines:
            if line.time_ns == self.time_ns:
                self.count += 1
            else:
                self.time_ns, self.count = line.time_ns, 1


class LogForwards:
    """One namespace's."""

    def __init__(
        self,
        layout: Layout,
        forwarder: LogForwarder,
        reader: LogReader,
        host: HostFiles,
        owner: TaskOwner,
    ) -> None:
        self._layout = layout
        self._forwarder = forwarder
        self._reader = reader
        self._host = host
        self._owner = owner
        self._running: dict[ContainerId, asyncio.Task[None]] = {}
        self._again: set[ContainerId] = set()

    async def check(self, record: ContainerRecord) -> None:
        """Before a start. Raises Unavailable when nobody takes its lines."""
        if record.log_forward is not None:
            async with self._forwarder.open(target_of(record)):
                return

    def begin(self, record: ContainerRecord, ended: Callable[[], bool]) -> None:
        """Hand on what its log has and gets, until it has ended and all is handed on."""
        if record.log_forward is None:
            return
        if record.id in self._running:  # it may have read all that there was before this start
            self._again.add(record.id)
            return
        task = self._owner.start(self._run(record, ended), f"log forward {record.id[:12]}")
        self._running[record.id] = task

    async def drain(self, id: ContainerId) -> None:
        """Before the log goes: wait a little for the last lines, then let go."""
        if (task := self._running.get(id)) is None:
            return
        await asyncio.wait((task,), timeout=DRAIN_S)
        if not task.done():
            log.warning("last log lines were not handed on", container=id)
            task.cancel()
            await asyncio.wait((task,))

    async def _run(self, record: ContainerRecord, ended: Callable[[], bool]) -> None:
        try:
            while True:
                await self._run_to_end(record, ended)
                if record.id not in self._again:
                    return
                self._again.discard(record.id)
        except Exception:
            log.exception("handing on a log failed", container=record.id)
        finally:
            self._running.pop(record.id, None)

    async def _run_to_end(self, record: ContainerRecord, ended: Callable[[], bool]) -> None:
        folder = self._layout.container_state(record.id)
        place = Place.parse(await self._host.read(folder / PLACE_FILE))
        delay_s = _FIRST_RETRY_S
        while True:
            try:
                async with self._forwarder.open(target_of(record)) as sink:
                    delay_s = _FIRST_RETRY_S
                    await self._forward(record, sink, place, ended)
                return
            except Fault as fault:
                log.warning("log lines wait", container=record.id, error=str(fault))
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _LONGEST_RETRY_S)

    async def _forward(
        self, record: ContainerRecord, sink: LogSink, place: Place, ended: Callable[[], bool]
    ) -> None:
        query = LogQuery(follow=True, since_ns=place.time_ns)
        skip = place.count
        begin_ns = place.time_ns
        kept_s = time.monotonic()
        try:
            async for lines in self._reader.read(Path(record.log_path), query, ended=ended):
                fresh = list(lines)
                while skip and fresh and fresh[0].time_ns == begin_ns:
                    fresh.pop(0)
                    skip -= 1
                await sink.send(fresh)
                place.after(fresh)
                if time.monotonic() - kept_s >= _KEEP_S:
                    await self._keep(record.id, place)
                    kept_s = time.monotonic()
        finally:
            await self._keep(record.id, place)

    async def _keep(self, id: ContainerId, place: Place) -> None:
        files = {PLACE_FILE: place.dump()}
        await self._host.write(self._layout.container_state(id), files, mode=0o600)


def target_of(record: ContainerRecord) -> ForwardTarget:
    """Where its lines go."""
    assert record.log_forward is not None
    return ForwardTarget(
        record.log_forward,
        record.id,
        record.name,
        record.image_reference,
        render_tag(record.log_forward.tag, tag_fields(record)),
    )
