"""How a container's process ended: seen by pidfds, told by conmon's exit file."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from sharedrt.drivers.oci.procs import PidFd, kill_process
from sharedrt.model.drivers import ExitStatus, ProcessIdentity
from sharedrt.wire.conmon import ConmonProtocolError, parse_exit_file

_log = structlog.get_logger("sharedrt.oci")

KILLED: Final = 128 + signal.SIGKILL
_FILE_PATIENCE_S: Final = 15.0
_FIRST_PAUSE_S: Final = 0.0005
_LONGEST_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class ExitSource:
    """One run: whom to watch and where the exit code will be.

    ``stop`` kills the whole container; ``on_end`` is told as soon as the process has ended. ``oom_kills`` is the
    cgroup's own count, ``None`` when it is gone; ``oom_told``, which blocks, is what the kernel's log says.
    """

    name: str
    process: ProcessIdentity
    conmon: ProcessIdentity
    exit_file: Path
    oom_mark: Path
    stop: Callable[[], object]
    on_end: Callable[[], object]
    oom_kills: Callable[[], int | None]
    oom_told: Callable[[], bool]


async def wait_for_exit(source: ExitSource) -> ExitStatus:
    """Until the process has ended and its code is known. Safe to cancel and to call again, at any time."""
    process, conmon = PidFd.open(source.process), PidFd.open(source.conmon)
    try:
        if process is not None:
            await _until_ended(source, process, conmon)
        # At once: systemd removes the cgroup now.
        kills = source.oom_kills()
        source.on_end()
        found = await _exit_code(source, conmon)
    finally:
        for held in (process, conmon):
            if held is not None:
                held.close()
    code, finished_ns = found if found is not None else (KILLED, time.time_ns())
    return ExitStatus(
        code, finished_ns, oom_killed=await _oom_killed(source, kills), known=found is not None
    )


async def _until_ended(source: ExitSource, process: PidFd, conmon: PidFd | None) -> None:
    """Wait for the process. If conmon goes first, nobody can ever learn the code: the container is killed."""
    first_was_conmon = conmon is None or await _first(process, conmon) is conmon
    if first_was_conmon and _read(source.exit_file) is None and not process.ended:
        _log.warning("conmon is gone; killing its container", container=source.name)
        source.stop()
        kill_process(source.process)
    await process.wait()


async def _first(*held: PidFd) -> PidFd:
    """The one that ended first; the earlier argument when both have."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.wait()) for each in held]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(each for each, task in zip(held, tasks, strict=True) if task.done())
        for task in tasks:
            task.cancel()
    return ended


async def _exit_code(source: ExitSource, conmon: PidFd | None) -> tuple[int, int] | None:
    """(code, time) from the file, which conmon writes once it has drained the output; soon, if it lives."""
    deadline = time.monotonic() + _FILE_PATIENCE_S
    pause = _FIRST_PAUSE_S
    while True:
        conmon_lives = conmon is not None and not conmon.ended
        if (found := _read(source.exit_file)) is not None:
            return found
        if not conmon_lives:
            return None
        if time.monotonic() > deadline:
            _log.error(
                "conmon wrote no exit file", container=source.name, waited_s=_FILE_PATIENCE_S
            )
            kill_process(source.conmon)
            return None
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _read(exit_file: Path) -> tuple[int, int] | None:
    try:
        with exit_file.open("rb") as file:
            code = parse_exit_file(file.read(64))
            finished_ns = exit_file.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ConmonProtocolError as e:
        _log.error("exit file is unreadable", path=str(exit_file), reason=str(e))
        return KILLED, time.time_ns()
    # -1: conmon itself does not know
    return (code if code >= 0 else KILLED), finished_ns


async def _oom_killed(source: ExitSource, kills: int | None) -> bool:
    """The kernel's own count while the cgroup is there, else conmon's mark or the kernel's log."""
    if kills == 0:
        return False
    # Asked also where it is known: what is told to this run is not told to the container's next one.
    told = await asyncio.to_thread(source.oom_told)
    return told or kills is not None or source.oom_mark.exists()
