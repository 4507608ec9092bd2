"""Short-lived children of the daemon, awaited by pidfd: no thread and no task for each.

asyncio's own subprocess transports start a watcher thread per child in Python 3.11; a batch of pods starts hundreds.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sharedrt.aio.completion import run_blocking
from sharedrt.aio.priority import thread_pool
from sharedrt.drivers.oci.spawn import spawn
from sharedrt.model.faults import DeadlineExceeded, FailedPrecondition

_MAX_WORDS: Final = 64 << 10
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SPAWNERS: Final = thread_pool(4, "spawn")
"""Threads of their own, since each may have to wait for a CPU. None is there before the first child."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A child's exit code and what it said on standard error (and output), at most 64 KiB."""

    exit_code: int
    output: str


class Child:
    """A running child; reaped as soon as it ends, whether or not anybody waits. Made by :meth:`start`."""

    def __init__(self, pid: int, output: int) -> None:
        self.pid = pid
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Finished] = self._loop.create_future()
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._on_exit)

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> "Child":
        """Start it, on a thread. Cancelled, it is killed, or was not started.

        Raises:
            FailedPrecondition: the binary is missing or cannot be run.
        """
        output = os.memfd_create("output", os.MFD_CLOEXEC)
        started: list[int] = []

        def work() -> None:
            words = {"PATH": _PATH, "TZ": "UTC0", **(env or {})}
            started.append(spawn(argv, words, output=output, keep=pass_fds))

        try:
            # Waited for in any case: until then the descriptors have to stay open.
            await run_blocking(_SPAWNERS, work)
        except OSError as e:
            os.close(output)
            raise FailedPrecondition("program", argv[0], e.strerror or str(e)) from e
        except BaseException:
            if started:
                cls(started[0], output).kill()
            else:
                os.close(output)
            raise
        return cls(started[0], output)

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)  # it has ended: returns at once
        code = os.waitstatus_to_exitcode(status)
        words = os.pread(self._output, _MAX_WORDS, 0).decode("utf-8", "replace")
        os.close(self._output)
        if not self._ended.done():
            self._ended.set_result(Finished(code, words))

    async def wait(self) -> Finished:
        """Its end. Cancelling leaves the child running, and it is reaped all the same."""
        return await asyncio.shield(self._ended)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back on the loop once it has ended and is reaped."""
        self._ended.add_done_callback(lambda _: callback())

    def kill(self) -> None:
        if not self._ended.done():
            os.kill(self.pid, signal.SIGKILL)


async def run(
    argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None
) -> Finished:
    """Run a command to its end. Cancelled, it runs on unwatched: what a runtime has begun it should finish.

    Raises:
        FailedPrecondition: the binary is missing. DeadlineExceeded: killed after ``timeout_s``.
    """
    child = await Child.start(argv, env=env)
    try:
        async with asyncio.timeout(timeout_s):
            return await child.wait()
    except TimeoutError as e:
        child.kill()
        raise DeadlineExceeded(os.path.basename(argv[0]), timeout_s) from e
