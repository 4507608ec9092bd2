"""Handing lines on: none lost, also when the taker or the daemon is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import ForwardTarget, LogLine, LogQuery
from sharedrt.model.faults import Unavailable
from sharedrt.model.records import LogForward, LogTransport
from sharedrt.services.containers import log_forward
from sharedrt.services.containers.log_forward import LogForwards, Place
from tests.services.rig import ID, container

FORWARD = LogForward(LogTransport.SYSLOG, "{{.Name}}")


def line(at: int, text: bytes) -> LogLine:
    return LogLine(at, 1, text, False)


LINES = [line(1, b"a"), line(2, b"b"), line(2, b"c"), line(2, b"d"), line(3, b"e")]


class Away:
    """Layout, host files, reader and taker in one."""

    def __init__(self) -> None:
        self.files: dict[Path, bytes] = {}
        self.taken: list[bytes] = []
        self.refuse_after = 1 << 30
        self.targets: list[ForwardTarget] = []
        self.lines = list(LINES)

    def container_state(self, id: str) -> Path:
        return Path("/state") / id

    async def read_file(self, path: Path) -> bytes:
        return self.files.get(path, b"")

    async def write(self, folder: Path, files: Mapping[str, bytes], *, mode: int) -> None:
        self.files |= {folder / name: data for name, data in files.items()}

    async def read(
        self, path: Path, query: LogQuery, *, ended: Callable[[], bool]
    ) -> AsyncIterator[Sequence[LogLine]]:
        assert query.follow
        sent = 0
        while True:
            for each in self.lines[sent:]:
                if each.time_ns >= query.since_ns:
                    yield [each]
            sent = len(self.lines)
            if ended():
                return
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def open(self, target: ForwardTarget) -> AsyncIterator["Away"]:
        self.targets.append(target)
        yield self

    async def send(self, lines: Sequence[LogLine]) -> None:
        for each in lines:
            if len(self.taken) >= self.refuse_after:
                raise Unavailable("syslog", "is away")
            self.taken.append(each.data)


def forwards(away: Away, owner: TaskOwner) -> LogForwards:
    class Host:
        read = staticmethod(away.read_file)
        write = staticmethod(away.write)

    made: Any = away
    return LogForwards(made, made, made, cast(Any, Host()), owner)


async def ended_tasks(owner: TaskOwner) -> None:
    async with asyncio.timeout(60):
        while owner._tasks:  # noqa: ASYNC110 - another task's doing
            await asyncio.sleep(0.001)


async def test_each_line_once_and_the_place_is_kept() -> None:
    away, owner = Away(), TaskOwner("test")
    record = container(log_forward=FORWARD, name="web")
    forwards(away, owner).begin(record, lambda: True)
    await ended_tasks(owner)
    assert away.taken == [b"a", b"b", b"c", b"d", b"e"]
    assert away.targets[0].tag == "web"
    assert list(away.files.values()) == [b"3 1\n"]
    away.lines.append(line(3, b"f"))
    forwards(away, owner).begin(record, lambda: True)
    await ended_tasks(owner)
    assert away.taken[5:] == [b"f"], "the next daemon goes on where this one was"


async def test_a_taker_that_goes_away_gets_the_rest_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_forward, "_FIRST_RETRY_S", 0.001)
    away, owner = Away(), TaskOwner("test")
    away.refuse_after = 3
    with capture_logs() as logged:
        forwards(away, owner).begin(container(log_forward=FORWARD), lambda: True)
        async with asyncio.timeout(60):
            while not logged:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert away.taken == [b"a", b"b", b"c"]
        away.refuse_after = 1 << 30
        await ended_tasks(owner)
    assert away.taken == [b"a", b"b", b"c", b"d", b"e"]


async def test_a_start_while_the_last_run_s_lines_are_handed_on() -> None:
    away, owner = Away(), TaskOwner("test")
    made = forwards(away, owner)
    record = container(log_forward=FORWARD)
    made.begin(record, lambda: True)
    made.begin(record, lambda: True)
    away.lines.append(line(9, b"second run"))
    await ended_tasks(owner)
    assert away.taken[-1] == b"second run"


async def test_removal_waits_for_the_last_lines_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_forward, "DRAIN_S", 0.05)
    away, owner = Away(), TaskOwner("test")
    made = forwards(away, owner)
    made.begin(container(log_forward=FORWARD), lambda: len(away.taken) == len(LINES))
    await made.drain(ID)
    assert len(away.taken) == len(LINES)
    away.files.clear()
    away.refuse_after = 0
    with capture_logs():
        made.begin(container(log_forward=FORWARD), lambda: True)
        await made.drain(ID)
    assert not owner._tasks
    await made.drain(ID)


async def test_who_has_no_such_log_is_left_alone() -> None:
    away, owner = Away(), TaskOwner("test")
    made = forwards(away, owner)
    made.begin(container(), lambda: True)
    await made.check(container())
    assert not owner._tasks
    assert not away.targets


def test_a_place_that_makes_no_sense_is_the_beginning() -> None:
    assert Place.parse(b"odd").dump() == b"0 0\n"
    assert Place.parse(b"5 2\n").dump() == b"5 2\n"
