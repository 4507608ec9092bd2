"""Processes held so that a later one of the same number cannot be taken for them."""

import asyncio
import os
import select
import signal
from pathlib import Path
from typing import Final

from sharedrt.model.drivers import ProcessIdentity

_EXITING: Final = 0x4
"""PF_EXITING of linux/sched.h, in the flags of /proc/PID/stat."""


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; ``None`` when there is none, or only its zombie."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[str]:
    """Fields of proc(5)'s stat from the state on; none of a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # the name, in parentheses, may itself hold blanks and parentheses
    fields = text.rpartition(")")[2].split()
    return [] if fields[0] in "ZX" else fields


def started_us(identity: ProcessIdentity) -> int:
    """When the process started, in µs since boot."""
    return identity.start_ticks * 1_000_000 // os.sysconf("SC_CLK_TCK")


def alive(identity: ProcessIdentity) -> bool:
    return identity.pid > 0 and start_ticks(identity.pid) == identity.start_ticks


def ending(identity: ProcessIdentity) -> bool:
    """Whether it has ended, or is about to: the first of a PID namespace waits for all others to end."""
    fields = _stat(identity.pid)
    return not fields or int(fields[19]) != identity.start_ticks or bool(int(fields[6]) & _EXITING)


def identify(pid: int) -> ProcessIdentity | None:
    ticks = start_ticks(pid)
    return None if ticks is None else ProcessIdentity(pid, ticks)


class PidFd:
    """A pidfd: awaited without polling, signalled without a race. Close it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def open(cls, identity: ProcessIdentity) -> "PidFd | None":
        """``None`` when that very process has ended (a zombie has)."""
        if identity.pid <= 0:
            return None
        try:
            fd = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return None
        if not alive(
            identity
        ):  # asked after opening: the descriptor is of whoever has the number now
            os.close(fd)
            return None
        return cls(fd)

    async def wait(self) -> None:
        """Until the process has ended. Safe to cancel."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def on_readable() -> None:
            if not ended.done():
                ended.set_result(None)

        watched = os.dup(self._fd)  # several may wait, and a loop watches a descriptor once
        try:
            loop.add_reader(watched, on_readable)
            try:
                await ended
            finally:
                loop.remove_reader(watched)
        finally:
            os.close(watched)

    @property
    def ended(self) -> bool:
        """Whether it has ended, reaped or not."""
        return bool(select.select([self._fd], [], [], 0)[0])

    def send_signal(self, number: int) -> bool:
        """False when it has ended."""
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "PidFd":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def kill_process(identity: ProcessIdentity, number: int = signal.SIGKILL) -> bool:
    """Signal that very process; False when it has ended."""
    process = PidFd.open(identity)
    if process is None:
        return False
    with process:
        return process.send_signal(number)


def kill_group(identity: ProcessIdentity) -> None:
    """SIGKILL a process and its process group; nothing when the process has ended.

    A process can be in groups of its own session only, and conmon or the runtime began a new one for it; so the
    group holds nothing but the exec, even where its leader is a runtime's long-gone helper (crun).
    """
    process = PidFd.open(identity)
    if process is None:
        return
    with process:
        try:
            if os.getsid(identity.pid) != os.getsid(0):
                os.killpg(os.getpgid(identity.pid), signal.SIGKILL)
        except ProcessLookupError:
            return
        process.send_signal(signal.SIGKILL)
