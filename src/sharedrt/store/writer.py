"""The one writer: a thread that runs use cases one after another and commits them in groups.

An fsync costs far more than a use case. While one commit waits for the disk, what arrives queues up, and
the next commit carries all of it: alone, a write pays one fsync; two hundred together pay a few.
Each use case runs in a savepoint, so a failing one takes back its own changes and nothing else.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sharedrt.aio.metrics import histogram
from sharedrt.aio.priority import favour_thread
from sharedrt.model.faults import Internal, Unavailable
from sharedrt.store.errors import database_fault

T = TypeVar("T")

MAX_QUEUED = 1024
"""Writes accepted and not yet on disk; further callers wait."""

MAX_BATCH = 256
"""Use cases in one commit, which bounds how long the first of them waits for the last."""


_COMMIT_SIZES = histogram(
    "sharedrt_store_commit_use_cases", "Use cases in one commit.", (1, 2, 5, 10, 20, 50, 100, 200)
)


@dataclass(slots=True)
class WriterStats:
    """Counted since the start, for the daemon's metrics; written by the writer's thread alone."""

    commits: int = 0
    use_cases: int = 0
    failed_use_cases: int = 0
    lost_batches: int = 0
    largest_batch: int = 0


@dataclass(slots=True, eq=False)
class _Job:
    run: Callable[[sqlite3.Connection], Any]
    future: "asyncio.Future[Any]"
    value: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Batch:
    jobs: list[_Job] = field(default_factory=list)
    lost: BaseException | None = None
    """What undid the whole transaction: a full disk, an I/O error."""


class Writer:
    """``on_undo`` is called, on the writer's thread, whenever changes were taken back."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        loop: asyncio.AbstractEventLoop,
        on_undo: Callable[[], None],
    ) -> None:
        self.stats = WriterStats()
        self._connection = connection
        self._loop = loop
        self._on_undo = on_undo
        self._slots = asyncio.Semaphore(MAX_QUEUED)
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="database-writer", daemon=True)
        self._thread.start()

    async def submit(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Run inside a savepoint; returns or raises what ``run`` did, after the commit.

        Cancelled while it still waits in the queue, ``run`` may be left out.

        Raises:
            ResourceExhausted, Internal, ...: the commit failed, and nothing of it has happened.
            Unavailable: the database is closed.
        """
        await self._slots.acquire()
        if self._closing:
            self._slots.release()
            raise Unavailable("database", "it is closed")
        job = _Job(run, self._loop.create_future())
        self._queue.put(job)
        result: T = await job.future
        return result

    def refuse_new(self) -> None:
        """Accept no more; what is queued will still be written. On the loop's thread."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)

    def join(self) -> None:
        """Wait, off the loop's thread, until all is written, then close the connection."""
        self._thread.join()
        with contextlib.suppress(sqlite3.Error):  # all is on disk by now
            self._connection.close()

    def _work(self) -> None:
        favour_thread()
        open_ = True
        while open_:
            batch, open_ = self._next_batch()
            if batch.jobs:
                self._write(batch)
                self._loop.call_soon_threadsafe(self._resolve, batch.jobs)

    def _next_batch(self) -> tuple[_Batch, bool]:
        batch = _Batch()
        job = self._queue.get()
        while job is not None:
            batch.jobs.append(job)
            if len(batch.jobs) >= MAX_BATCH:
                return batch, True
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _write(self, batch: _Batch) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in batch.jobs:
                self._run(job)
            self._connection.commit()
        except BaseException as error:  # noqa: BLE001 - handed to every caller
            batch.lost = error
            self._abandon(batch.jobs, error)
        self._count(batch)

    def _run(self, job: _Job) -> None:
        """Raises only what undoes the whole batch; what fails the use case alone is kept in the job."""
        if job.future.cancelled():
            return
        self._connection.execute("SAVEPOINT use_case")
        try:
            job.value = job.run(self._connection)
        except BaseException as error:
            if not self._connection.in_transaction:  # SQLite undid everything: no space, I/O error
                raise
            self._connection.execute("ROLLBACK TO use_case")
            self._on_undo()
            job.error = _for_caller(error)
        self._connection.execute("RELEASE use_case")

    def _abandon(self, jobs: Sequence[_Job], lost: BaseException) -> None:
        self._on_undo()
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back already
            self._connection.rollback()
        for job in jobs:  # an instance for each: raising one writes its traceback
            if isinstance(lost, sqlite3.Error):
                job.error = database_fault(lost)
            else:
                job.error = Internal("database", f"a commit failed: {lost!r}")
            job.error.__cause__ = lost

    def _count(self, batch: _Batch) -> None:
        stats = self.stats
        stats.commits += batch.lost is None
        stats.lost_batches += batch.lost is not None
        stats.use_cases += len(batch.jobs)
        stats.failed_use_cases += sum(job.error is not None for job in batch.jobs)
        stats.largest_batch = max(stats.largest_batch, len(batch.jobs))
        _COMMIT_SIZES.observe(len(batch.jobs))

    def _resolve(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._slots.release()
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.value)
            else:
                job.future.set_exception(job.error)


def _for_caller(error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.Error):
        fault = database_fault(error)
    elif isinstance(error, StopIteration):  # which no future takes
        fault = Internal("use case", "it raised StopIteration")
    else:
        return error
    fault.__cause__ = error
    return fault
