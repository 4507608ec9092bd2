"""Rotation: names, compression, and what a crash in the middle of it leaves."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharedrt.drivers.logs import FileLogReader, FileLogRotator
from sharedrt.drivers.logs.compressed import compress, open_plain
from sharedrt.drivers.logs.files import LogFiles
from sharedrt.model.drivers import LogBounds, LogLine, LogQuery
from sharedrt.model.faults import FailedPrecondition, Internal
from sharedrt.wire.cri_log import format_line

SECOND = 10**9


@pytest.fixture
async def rotator() -> AsyncIterator[FileLogRotator]:
    made = FileLogRotator()
    yield made
    await made.aclose()


def bounds(path: Path, *, files: int = 3, compress: bool = False) -> LogBounds:
    return LogBounds(path, 100, files, compress)


def write(path: Path, *numbers: int) -> None:
    lines = (format_line(LogLine(n * SECOND, 1, b"line %d" % n, False)) for n in numbers)
    with path.open("ab") as file:
        file.write(b"".join(lines))


def names(path: Path) -> list[str]:
    return sorted(p.name.removeprefix(path.name) for p in path.parent.iterdir())


async def read(path: Path, query: LogQuery) -> list[int]:
    reader = FileLogReader()
    found = []
    async for batch in reader.read(path, query, ended=lambda: True):
        found += [line.time_ns // SECOND for line in batch]
    await reader.aclose()
    return found


class Writer:
    """conmon: opens the log anew when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    async def reopen(self) -> None:
        self.path.touch()
        self.count += 1


def test_the_last_lines_are_those_of_when_they_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    write(path, *range(10))
    for follow, expected in ((False, [8, 9]), (True, [8, 9, 10])):
        files = LogFiles(path, LogQuery(tail=2, follow=follow))
        files.open()
        write(path, 10)
        found: list[int] = []
        while (lines := files.read()) is not None:
            found += [line.time_ns // SECOND for line in lines]
        files.close()
        assert found == expected
        path.unlink()
        write(path, *range(10))


@pytest.mark.parametrize("packed", [False, True])
async def test_files_move_up_and_the_oldest_goes(
    rotator: FileLogRotator, tmp_path: Path, packed: bool
) -> None:
    path = tmp_path / "container.log"
    writer = Writer(path)
    log = bounds(path, compress=packed)
    assert await rotator.due([log]) == []
    for first in (1, 11, 21, 31):
        write(path, *range(first, first + 10))
        assert await rotator.due([log]) == [log]
        await rotator.rotate(log, writer.reopen)
        assert await rotator.due([log]) == []
    assert writer.count == 4
    assert names(path) == (["", ".1.gz", ".2.gz"] if packed else ["", ".1", ".2"])
    write(path, 41)
    assert await read(path, LogQuery()) == [*range(21, 42)]
    assert await read(path, LogQuery(tail=12)) == [*range(30, 42)]
    assert await read(path, LogQuery(tail=0)) == []
    assert await read(path, LogQuery(since_ns=35 * SECOND)) == [*range(35, 42)]


async def test_one_that_cannot_be_looked_at_keeps_no_other_from_it(
    rotator: FileLogRotator, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    lost, good = bounds(tmp_path / "file" / "container.log"), bounds(tmp_path / "container.log")
    write(good.path, *range(10))
    writer = Writer(good.path)
    assert await rotator.due([lost, good]) == [lost, good]
    with pytest.raises(Internal, match="Not a directory"):
        await rotator.rotate(lost, writer.reopen)
    await rotator.rotate(good, writer.reopen)
    assert good.path.with_name("container.log.1").exists()


async def test_one_that_has_ended_is_rotated_all_the_same(
    rotator: FileLogRotator, tmp_path: Path
) -> None:
    path = tmp_path / "container.log"
    write(path, *range(10))

    async def refuse() -> None:
        raise FailedPrecondition("container", "x", "is not running")

    await rotator.rotate(bounds(path, compress=True), refuse)
    assert names(path) == [".1.gz"]


async def test_what_a_crash_has_cut_off_is_finished(
    rotator: FileLogRotator, tmp_path: Path
) -> None:
    path = tmp_path / "container.log"
    log = bounds(path, files=4, compress=True)
    writer = Writer(path)
    # Killed between the renaming and conmon's opening it anew.
    write(path.with_name("container.log.1"), *range(10))
    assert await rotator.due([log]) == [log]
    await rotator.rotate(log, writer.reopen)
    assert names(path) == ["", ".1.gz"]
    # Killed while files were moved up, and while one was compressed: no file goes for the gap's sake.
    path.with_name("container.log.1.gz").rename(path.with_name("container.log.2.gz"))
    write(path.with_name("container.log.3"), *range(5))
    path.with_name("container.log.3.part").write_bytes(b"half")
    write(path, *range(20, 30))
    await rotator.rotate(log, writer.reopen)
    assert names(path)[:4] == ["", ".1.gz", ".2.gz", ".3.gz"]
    assert await read(path, LogQuery()) == [*range(5), *range(10), *range(20, 30)]


def test_compressing_keeps_the_time_and_the_text(tmp_path: Path) -> None:
    path = tmp_path / "log.1"
    write(path, *range(1000))
    text, stamp = path.read_bytes(), path.stat().st_mtime_ns
    compress(path)
    packed = tmp_path / "log.1.gz"
    assert not path.exists()
    assert packed.stat().st_mtime_ns == stamp
    assert packed.stat().st_size < len(text) / 2
    assert gzip.decompress(packed.read_bytes()) == text
    with open(open_plain(packed), "rb") as plain:
        assert plain.read() == text
    # What breaks off gives what there is.
    packed.write_bytes(packed.read_bytes()[:-500])
    with open(open_plain(packed), "rb") as plain:
        assert text.startswith(plain.read())
    assert list(tmp_path.iterdir()) == [packed]


async def test_a_file_that_grew_too_large_is_split(rotator: FileLogRotator, tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    log = LogBounds(path, 20_000, 4, compress=True)
    write(path, *range(720))
    await rotator.rotate(log, Writer(path).reopen)
    assert names(path) == ["", ".1.gz", ".2.gz"]
    assert await read(path, LogQuery()) == [*range(720)]
    write(path, *range(720, 5000))
    await rotator.rotate(log, Writer(path).reopen)
    assert names(path) == ["", ".1.gz", ".2.gz", ".3.gz"]
    kept = await read(path, LogQuery())
    assert kept == [*range(kept[0], 5000)]
    assert 1000 < len(kept) < 1500
    for number in (1, 2, 3):
        text = gzip.decompress(path.with_name(f"container.log.{number}.gz").read_bytes())
        assert 19_000 < len(text) <= 20_000


async def test_a_line_longer_than_a_file(rotator: FileLogRotator, tmp_path: Path) -> None:
    path = tmp_path / "container.log"
    path.write_bytes(b"x" * 100_000 + b"\n")
    await rotator.rotate(LogBounds(path, 20_000, 3), Writer(path).reopen)
    assert names(path) == ["", ".1", ".2"]
    assert path.with_name("container.log.1").stat().st_size == 20_000
