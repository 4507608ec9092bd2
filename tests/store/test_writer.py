"""Group commit: shared fate of a commit, own fate of a use case."""

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharedrt.model.faults import AlreadyExists, Internal, ResourceExhausted, Unavailable
from sharedrt.model.ids import Namespace
from sharedrt.model.records import VolumeRecord
from sharedrt.model.stores import NamespacedStore, Transaction
from sharedrt.store import SqliteDatabase
from sharedrt.store.writer import MAX_QUEUED

from .conftest import K8S, MOBY


class Gate:
    """A use case that holds the writer's thread, so that what follows queues up behind it."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()

    async def hold(self, tasks: asyncio.TaskGroup, store: NamespacedStore) -> None:
        """Returns once the thread is held."""
        self.task = tasks.create_task(store.write(self._use_case))
        await asyncio.to_thread(self._entered.wait, 30)

    def open(self) -> None:
        self._open.set()

    def _use_case(self, tx: Transaction) -> None:
        self._entered.set()
        assert self._open.wait(30)


def add(name: str, fill: str = "") -> Any:
    return lambda tx: tx.volumes.add(VolumeRecord(name, labels={"fill": fill}))


async def volumes(store: NamespacedStore) -> set[str]:
    return {volume.name for volume in await store.read(lambda tx: tx.volumes.list())}


async def test_writes_that_queue_up_share_a_commit(
    sqlite: SqliteDatabase, moby: NamespacedStore
) -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, moby)
        before = sqlite.stats.commits
        for number in range(200):
            tasks.create_task(moby.write(add(f"v{number}")))
        await asyncio.sleep(0)
        gate.open()
    assert sqlite.stats.commits - before <= 2  # the gate's own, and one for all
    assert sqlite.stats.largest_batch >= 200
    assert len(await volumes(moby)) == 200


async def test_a_failing_use_case_takes_back_its_own_changes_alone(
    sqlite: SqliteDatabase, moby: NamespacedStore
) -> None:
    def half(tx: Transaction) -> None:
        tx.volumes.add(VolumeRecord("half"))
        raise LookupError("changed its mind")

    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, moby)
        jobs = [moby.write(job) for job in (add("a"), half, add("a"), add("b"))]
        outcome = asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.sleep(0)
        gate.open()
    first, failed, taken, last = await outcome
    assert isinstance(first, VolumeRecord)
    assert isinstance(failed, LookupError)
    assert isinstance(taken, AlreadyExists)
    assert isinstance(last, VolumeRecord)
    assert await volumes(moby) == {"a", "b"}
    assert sqlite.stats.failed_use_cases == 2


async def test_later_use_cases_of_a_batch_see_the_earlier_ones(moby: NamespacedStore) -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, moby)
        tasks.create_task(moby.write(add("first")))
        seen = tasks.create_task(moby.write(lambda tx: [v.name for v in tx.volumes.list()]))
        await asyncio.sleep(0)
        gate.open()
    assert seen.result() == ["first"]


async def test_the_result_comes_after_the_commit(path: Path, moby: NamespacedStore) -> None:
    """Another process's connection must see what was acknowledged."""
    await moby.write(add("v"))
    shown = await asyncio.to_thread(
        subprocess.run,
        ["python3", "-c", f"import sqlite3; print(sqlite3.connect({str(path)!r}).execute("
         "'select name from volumes').fetchall())"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert "'v'" in shown.stdout


async def test_a_cancelled_write_that_still_waits_is_left_out(moby: NamespacedStore) -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, moby)
        unwanted = tasks.create_task(moby.write(add("unwanted")))
        tasks.create_task(moby.write(add("wanted")))
        await asyncio.sleep(0)
        unwanted.cancel()
        await asyncio.sleep(0)
        gate.open()
    assert unwanted.cancelled()
    assert await volumes(moby) == {"wanted"}


async def test_a_write_cancelled_under_way_harms_nothing(moby: NamespacedStore) -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, moby)
        gate.task.cancel()
        gate.open()
    await moby.write(add("next"))
    assert await volumes(moby) == {"next"}


async def test_the_queue_is_bounded(moby: NamespacedStore) -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, moby)
        writes = [tasks.create_task(moby.write(add(f"v{n}"))) for n in range(MAX_QUEUED + 50)]
        await asyncio.sleep(0.01)
        # The gate holds one place; what does not fit waits outside and can still be called off.
        writes[-1].cancel()
        await asyncio.sleep(0)
        assert writes[-1].cancelled()
        gate.open()
    assert len(await volumes(moby)) == MAX_QUEUED + 49


async def test_stop_iteration_becomes_a_fault(moby: NamespacedStore) -> None:
    with pytest.raises(Internal, match="StopIteration"):
        await moby.write(lambda tx: next(iter(())))


async def test_closing_finishes_what_was_accepted_and_refuses_the_rest(path: Path) -> None:
    database = await SqliteDatabase.open(path)
    moby = database.within(MOBY)
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, moby)
        accepted = tasks.create_task(moby.write(add("accepted")))
        await asyncio.sleep(0)
        closing = tasks.create_task(database.aclose())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await moby.write(add("late"))
        with pytest.raises(Unavailable):
            await moby.read(lambda tx: None)
        closing.cancel()  # which must not leave the file open
        gate.open()
    assert accepted.done()
    await database.aclose()
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]
    async with await SqliteDatabase.open(path) as again:
        assert await volumes(again.within(MOBY)) == {"accepted"}


async def test_a_full_database_fails_what_does_not_fit_and_loses_nothing(
    sqlite: SqliteDatabase, moby: NamespacedStore
) -> None:
    """SQLite's own bound on pages gives the error of a full disk in the middle of a use case."""

    def bound(pages: int) -> Any:
        return lambda tx: tx._connection.execute(f"PRAGMA max_page_count={pages}").fetchone()[0]

    smallest = await sqlite.write_global(bound(1))  # SQLite answers with the pages there are
    await sqlite.write_global(bound(smallest + 10))
    results = await asyncio.gather(
        *(moby.write(add(f"v{number}", "x" * 4000)) for number in range(60)),
        return_exceptions=True,
    )
    failed = [result for result in results if isinstance(result, BaseException)]
    assert failed
    assert all(isinstance(fault, ResourceExhausted) for fault in failed)
    kept = {result.name for result in results if isinstance(result, VolumeRecord)}
    assert await volumes(moby) == kept
    await sqlite.write_global(bound(2**30))
    await moby.write(add("after", "x" * 4000))
    assert await volumes(moby) == {*kept, "after"}


async def test_what_undoes_the_transaction_fails_the_whole_batch(
    sqlite: SqliteDatabase, moby: NamespacedStore
) -> None:
    def undo(tx: Any) -> None:
        tx.volumes.add(VolumeRecord("undone"))
        tx.volumes._connection.execute("ROLLBACK")  # as SQLite does by itself on an I/O error
        raise OSError("no such disk")

    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, sqlite.within(K8S))
        jobs = [moby.write(job) for job in (add("before"), undo, add("behind"))]
        outcome = asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.sleep(0)
        gate.open()
    faults = await outcome
    assert [type(fault) for fault in faults] == [Internal, Internal, Internal]
    assert len({id(fault) for fault in faults}) == 3
    assert sqlite.stats.lost_batches == 1
    assert await volumes(moby) == set()
    await moby.write(add("next"))
    assert await volumes(moby) == {"next"}


async def test_a_namespace_made_in_a_lost_batch_is_made_again(
    sqlite: SqliteDatabase,
) -> None:
    team = sqlite.within(Namespace("team"))

    def undo(tx: Any) -> None:
        tx.volumes._connection.execute("ROLLBACK")
        raise OSError("no such disk")

    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        await gate.hold(tasks, sqlite.within(K8S))
        outcome = asyncio.gather(team.write(add("v")), team.write(undo), return_exceptions=True)
        await asyncio.sleep(0)
        gate.open()
    assert all(isinstance(fault, Internal) for fault in await outcome)
    await team.write(add("v"))
    assert await volumes(team) == {"v"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.real
async def test_a_full_disk(small_disk: Path) -> None:
    """The WAL cannot grow: commits fail, what was acknowledged stays, and space brings it back."""
    path = small_disk / "sharedrt.db"
    async with await SqliteDatabase.open(path) as database:
        moby = database.within(MOBY)
        await moby.write(add("before"))
        ballast = small_disk / "ballast"
        space = os.statvfs(small_disk)
        ballast.write_bytes(bytes((space.f_bavail - 2) * space.f_frsize))
        results = await asyncio.gather(
            *(moby.write(add(f"v{number}", "x" * 4000)) for number in range(60)),
            return_exceptions=True,
        )
        failed = [result for result in results if isinstance(result, BaseException)]
        assert failed
        assert all(isinstance(fault, ResourceExhausted) for fault in failed)
        kept = {result.name for result in results if isinstance(result, VolumeRecord)}
        assert await volumes(moby) == {*kept, "before"}
        ballast.unlink()
        await moby.write(add("after"))
    async with await SqliteDatabase.open(path) as database:
        assert await volumes(database.within(MOBY)) == {*kept, "before", "after"}
