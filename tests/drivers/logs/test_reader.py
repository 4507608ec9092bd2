"""Logs read from disk as conmon, the kubelet and crashes leave them."""

# ruff: noqa: ASYNC240 - tests touch small files

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from sharedrt.drivers.logs import FileLogReader
from sharedrt.drivers.logs.files import BLOCK, LogFiles
from sharedrt.model.drivers import LogLine, LogQuery
from sharedrt.model.faults import Internal
from sharedrt.wire.cri_log import format_line

SECOND = 10**9


@pytest.fixture
async def reader() -> AsyncIterator[FileLogReader]:
    driver = FileLogReader()
    yield driver
    assert driver._inotify._waiting == {}
    await driver.aclose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "container.log"


def line(number: int, stream: int = 1, partial: bool = False) -> LogLine:
    return LogLine(number * SECOND, stream, b"line %d" % number, partial)


def write(path: Path, *numbers: int) -> None:
    with path.open("ab") as file:
        file.write(b"".join(format_line(line(number)) for number in numbers))


async def read(reader: FileLogReader, path: Path, query: LogQuery) -> list[LogLine]:
    found: list[LogLine] = []
    async for batch in reader.read(path, query, ended=lambda: True):
        assert batch
        found += batch
    return found


def numbers(lines: Sequence[LogLine]) -> list[int]:
    return [entry.time_ns // SECOND for entry in lines]


async def test_no_log_has_no_lines(reader: FileLogReader, path: Path) -> None:
    assert await read(reader, path, LogQuery()) == []
    assert await read(reader, path, LogQuery(tail=3, follow=True)) == []
    assert await read(reader, path.parent / "no" / "folder", LogQuery(follow=True)) == []


async def test_all(reader: FileLogReader, path: Path) -> None:
    lines = [line(1), line(2, 2, True), line(3, 2)]
    path.write_bytes(b"".join(map(format_line, lines)))
    assert await read(reader, path, LogQuery()) == lines
    assert await read(reader, path, LogQuery(stderr=False)) == lines[:1]
    assert await read(reader, path, LogQuery(stdout=False)) == lines[1:]
    assert await read(reader, path, LogQuery(stdout=False, stderr=False)) == []
    assert await read(reader, path, LogQuery(since_ns=2 * SECOND)) == lines[1:]
    assert await read(reader, path, LogQuery(until_ns=2 * SECOND)) == lines[:2]
    assert await read(reader, path, LogQuery(tail=1)) == lines[2:]


async def test_bigger_than_a_block(reader: FileLogReader, path: Path) -> None:
    count = 3 * BLOCK // 50
    write(path, *range(count))
    assert numbers(await read(reader, path, LogQuery())) == list(range(count))


@pytest.mark.parametrize("since", [0, 1, 9_999, 10_000, 33_333, 59_999, 60_000, 99_999])
async def test_since_in_a_long_log(reader: FileLogReader, path: Path, since: int) -> None:
    count = 60_000
    write(path, *range(count))
    assert path.stat().st_size > 8 * BLOCK
    found = numbers(await read(reader, path, LogQuery(since_ns=since * SECOND)))
    assert found == list(range(since, count))


@pytest.mark.parametrize("tail", [0, 1, 2, 1999, 2000, 2001, 100_000])
async def test_tail(reader: FileLogReader, path: Path, tail: int) -> None:
    write(path, *range(2000))
    for _ in range(2):
        found = numbers(await read(reader, path, LogQuery(tail=tail)))
        assert found == list(range(max(0, 2000 - tail), 2000))
        with path.open("ab") as file:
            file.write(b"1970-01-01T00:00:00Z stdout F unfinis")


async def test_tail_counts_before_filters(reader: FileLogReader, path: Path) -> None:
    lines = [line(1), line(2, 2), line(3), line(4, 2)]
    path.write_bytes(b"".join(map(format_line, lines)))
    assert numbers(await read(reader, path, LogQuery(tail=3, stderr=False))) == [3]


async def test_rotated_files_come_first(reader: FileLogReader, path: Path) -> None:
    write(path.with_name(path.name + ".20240101-000000"), 1, 2)
    write(path.with_name(path.name + ".20240102-000000"), 3)
    write(path, 4, 5)
    for other in (".20240101-000000.gz", ".tmp", ".1x", "x", ".01"):
        write(path.with_name(path.name + other), 99)
    assert numbers(await read(reader, path, LogQuery())) == [1, 2, 3, 4, 5]
    for tail in range(7):
        expected = [1, 2, 3, 4, 5][max(0, 5 - tail) :]
        assert numbers(await read(reader, path, LogQuery(tail=tail))) == expected


async def test_numbered_files(reader: FileLogReader, path: Path) -> None:
    for number in range(1, 12):
        write(path.with_name(f"{path.name}.{number}"), 20 - number)
    write(path, 20)
    assert numbers(await read(reader, path, LogQuery())) == list(range(9, 21))


async def test_damage_is_skipped(reader: FileLogReader, path: Path) -> None:
    write(path, 1)
    with path.open("ab") as file:
        file.write(os.urandom(1000).replace(b"\n", b"") + b"\n\n1970-01-01T00:00\n")
    write(path, 2)
    assert numbers(await read(reader, path, LogQuery())) == [1, 2]


async def test_no_plain_file(reader: FileLogReader, path: Path) -> None:
    path.symlink_to("/etc/passwd")
    with pytest.raises(Internal):
        await read(reader, path, LogQuery())
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Internal):
        await read(reader, path, LogQuery())


class Follower:
    """Follows on a task; hands over what has come."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.over = False

    async def run(self, reader: FileLogReader, path: Path, query: LogQuery) -> None:
        async for batch in reader.read(path, query, ended=lambda: self.over):
            self.lines += batch

    async def until(self, *expected: int) -> None:
        async with asyncio.timeout(60):
            while numbers(self.lines) != list(expected):
                assert len(self.lines) < len(expected), numbers(self.lines)
                await asyncio.sleep(0.002)


Start = Callable[..., Follower]


@pytest.fixture
async def follow(reader: FileLogReader, path: Path) -> AsyncIterator[Start]:
    async with asyncio.TaskGroup() as tasks:
        followers = []

        def start(query: LogQuery = LogQuery(follow=True)) -> Follower:  # noqa: B008 - frozen
            follower = Follower()
            followers.append(follower)
            tasks.create_task(follower.run(reader, path, query))
            return follower

        yield start
        for follower in followers:
            follower.over = True


async def test_following(follow: Start, path: Path) -> None:
    follower = follow()
    await asyncio.sleep(0.02)
    write(path, 1)
    await follower.until(1)
    await asyncio.sleep(0.2)  # past the quick looks: inotify alone wakes now
    began = asyncio.get_running_loop().time()
    write(path, 2)
    await follower.until(1, 2)
    assert asyncio.get_running_loop().time() - began < 0.2
    with path.open("ab") as file:
        encoded = format_line(line(3))
        file.write(encoded[:20])
        file.flush()
        await asyncio.sleep(0.05)
        file.write(encoded[20:])
    await follower.until(1, 2, 3)


async def test_following_from_the_tail(follow: Start, path: Path) -> None:
    write(path, 1, 2, 3)
    one, none = follow(LogQuery(follow=True, tail=1)), follow(LogQuery(follow=True, tail=0))
    await one.until(3)
    write(path, 4)
    await one.until(3, 4)
    await none.until(4)


async def test_following_ends_with_the_container(reader: FileLogReader, path: Path) -> None:
    over = False
    write(path, 1)
    found: list[int] = []

    async def run() -> None:
        async for batch in reader.read(path, LogQuery(follow=True), ended=lambda: over):
            found.extend(numbers(batch))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(run())
        await asyncio.sleep(0.05)
        write(path, 2)
        over = True
    assert found == [1, 2]


async def test_following_until(reader: FileLogReader, path: Path) -> None:
    write(path, 1, 2)
    query = LogQuery(follow=True, until_ns=1 * SECOND)
    async with asyncio.timeout(60):
        batches = [batch async for batch in reader.read(path, query, ended=lambda: False)]
    assert [numbers(batch) for batch in batches] == [[1]]


async def test_following_across_the_kubelets_rotation(follow: Start, path: Path) -> None:
    write(path, 1)
    follower = follow()
    await follower.until(1)
    with path.open("ab") as old:
        path.rename(path.with_name(f"{path.name}.20240101-000000"))
        await asyncio.sleep(0.05)
        old.write(format_line(line(2)))  # conmon has not been told yet
        old.flush()
        await follower.until(1, 2)
        old.write(format_line(line(3)))
    write(path.with_name("new"), 4)
    path.with_name("new").rename(path)
    await follower.until(1, 2, 3, 4)
    write(path, 5)
    await follower.until(1, 2, 3, 4, 5)


async def test_following_across_several_rotations_at_once(follow: Start, path: Path) -> None:
    write(path, 1)
    follower = follow()
    await follower.until(1)
    write(path, 2)
    path.rename(path.with_name(f"{path.name}.20240101-000000"))
    write(path.with_name(f"{path.name}.20240102-000000"), 3)
    write(path, 4)
    await follower.until(1, 2, 3, 4)


async def test_following_conmons_own_limit(follow: Start, path: Path) -> None:
    """conmon begins a new file in the place of the old, which is gone."""
    write(path, 1)
    follower = follow()
    await follower.until(1)
    write(path.with_name("container.log.tmp"), 2)
    path.with_name("container.log.tmp").rename(path)
    await follower.until(1, 2)


async def test_following_a_file_cut_to_nothing(follow: Start, path: Path) -> None:
    write(path, 1, 2, 3)
    follower = follow()
    await follower.until(1, 2, 3)
    os.truncate(path, 0)
    await asyncio.sleep(0.05)
    write(path, 4)
    await follower.until(1, 2, 3, 4)


async def test_a_folder_removed_under_a_follower(reader: FileLogReader, tmp_path: Path) -> None:
    path = tmp_path / "gone" / "log"
    path.parent.mkdir()
    write(path, 1)
    over = False
    found: list[int] = []

    async def run() -> None:
        async for batch in reader.read(path, LogQuery(follow=True), ended=lambda: over):
            found.extend(numbers(batch))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(run())
        await asyncio.sleep(0.05)
        path.unlink()
        path.parent.rmdir()
        await asyncio.sleep(0.05)
        over = True
    assert found == [1]


async def test_many_followers_share_a_watch(
    follow: Start, reader: FileLogReader, path: Path
) -> None:
    followers = [follow() for _ in range(20)]
    await asyncio.sleep(0.05)
    assert len(reader._inotify._waiting) == 1
    write(path, *range(100))
    for follower in followers:
        await follower.until(*range(100))


async def test_cancelled_followers_leave_nothing(reader: FileLogReader, path: Path) -> None:
    write(path, 1)
    before = len(os.listdir("/proc/self/fd"))
    follower = Follower()
    query = LogQuery(follow=True)
    task = asyncio.get_running_loop().create_task(follower.run(reader, path, query))
    await follower.until(1)
    task.cancel()
    await asyncio.wait([task])
    reader._inotify.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_log_that_stands_still_is_not_read(
    follow: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    reads = 0

    def look_again_s(quiet: int) -> float:
        looks.append(quiet)
        return 0.001

    class Counting(LogFiles):
        def read(self) -> list[LogLine] | None:
            nonlocal reads
            reads += 1
            return super().read()

    monkeypatch.setattr("sharedrt.drivers.logs.reader._look_again_s", look_again_s)
    monkeypatch.setattr("sharedrt.drivers.logs.reader.LogFiles", Counting)
    write(path, 1)
    follower = follow()
    await follower.until(1)
    async with asyncio.timeout(60):
        while len(looks) < 100:  # noqa: ASYNC110 - counted, not told
            await asyncio.sleep(0.002)
    assert reads < 20
    write(path, 2)
    await follower.until(1, 2)


async def test_the_last_look_is_soon_enough(reader: FileLogReader, path: Path) -> None:
    """However long nothing has come, ``until`` ends it in time."""
    until_ns = time.time_ns() + SECOND
    async with asyncio.timeout(2):
        query = LogQuery(follow=True, until_ns=until_ns)
        assert [batch async for batch in reader.read(path, query, ended=lambda: False)] == []
    assert time.time_ns() >= until_ns
