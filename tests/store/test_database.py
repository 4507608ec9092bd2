"""Opening and closing."""

import asyncio
from pathlib import Path

import pytest

from sharedrt.model.faults import FailedPrecondition
from sharedrt.store import SqliteDatabase, database

from . import samples
from .conftest import K8S, MOBY


async def test_what_was_written_is_there_after_a_restart(path: Path) -> None:
    async with await SqliteDatabase.open(path) as first:
        await first.within(MOBY).write(samples.fill)
        before = await first.within(MOBY).read(lambda tx: tx.containers.list())
    async with await SqliteDatabase.open(path) as second:
        assert await second.within(MOBY).read(lambda tx: tx.containers.list()) == before
        assert await second.within(K8S).read(lambda tx: tx.containers.list()) == []
        assert second.within(K8S).namespace == K8S


async def test_closing_twice_is_harmless(path: Path) -> None:
    async with await SqliteDatabase.open(path) as opened:
        await opened.aclose()


async def test_an_error_inside_closes_the_file(path: Path) -> None:
    with pytest.raises(LookupError):
        async with await SqliteDatabase.open(path):
            raise LookupError
    async with await SqliteDatabase.open(path):
        pass


async def test_a_cancelled_open_leaves_the_file_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that opens cannot be stopped; what it opened is closed once it is done."""
    closed = asyncio.Event()
    close_unwanted = database._close_unwanted

    def close_and_tell(opening: "asyncio.Future[database.OpenFile]") -> None:
        close_unwanted(opening)
        closed.set()

    monkeypatch.setattr(database, "_close_unwanted", close_and_tell)
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(SqliteDatabase.open(path))
        await asyncio.sleep(0)
        opening.cancel()
    await asyncio.wait_for(closed.wait(), 30)
    async with await SqliteDatabase.open(path):
        pass


async def test_a_failed_open_leaves_the_file_free(path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"x" * 5000)
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="not a SQLite database"):
            await SqliteDatabase.open(damaged)
