"""Short-lived children of the daemon, awaited by pidfd: no thread and no task for each.

asyncio's own subprocess transports start a watcher thread per child in Python 3.11; a batch of pods starts hundreds.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sharedrt.aio.completion import complete, run_blocking
from sharedrt.aio.priority import thread_pool
from sharedrt.drivers.spawn import spawn
from sharedrt.model.faults import DeadlineExceeded, FailedPrecondition

_MAX_OUTPUT: Final = 64 << 10
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SPAWNERS: Final = thread_pool(4, "spawn")
"""Threads of their own, since each may have to wait for a CPU. None is there before the first child."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended.

    Attributes:
        exit_code: minus the signal's number where one ended it.
        output: what it wrote to its standard output, and to standard error unless that was told apart; the first 64
            KiB, or as many bytes as was asked for.
        errors: what it wrote to standard error, so far as the same bound goes, where that was told apart.
    """

    exit_code: int
    output: str
    errors: str = ""


class Child:
    """A running child; reaped as soon as it ends, whether or not anybody waits. Made by :meth:`start`.

    What it writes goes to memory files, not to pipes: its end is its own, whatever it has left running.
    """

    def __init__(self, pid: int, files: "_Files", max_output: int) -> None:
        self.pid = pid
        self._files = files
        self._max_output = max_output
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
        stdin: bytes = b"",
        folder: str = "/",
        session: bool = False,
        errors_apart: bool = False,
        max_output: int = _MAX_OUTPUT,
    ) -> "Child":
        """Start it, on a thread. Cancelled, it is killed, or was not started.

        Args:
            env: over a search path and the time zone.
            pass_fds: descriptors that it has as 3, 4 … besides its standard ones, and no others.
            stdin: what it reads. Kept in memory.
            session: whether it leads one of its own, and a process group, so that it can be killed with all it starts.

        Raises:
            FailedPrecondition: the binary is missing or cannot be run.
        """
        files = _Files(stdin, errors_apart=errors_apart)
        started: list[int] = []

        def work() -> None:
            words = {"PATH": PATH, "TZ": "UTC0", **(env or {})}
            given = (*files.standard, *pass_fds)
            started.append(spawn(argv, words, descriptors=given, folder=folder, session=session))

        try:
            # Waited for in any case: until then the descriptors have to stay open.
            await run_blocking(_SPAWNERS, work)
        except OSError as e:
            files.close()
            raise FailedPrecondition("program", argv[0], e.strerror or str(e)) from e
        except BaseException:
            if started:
                cls(started[0], files, max_output).kill(group=session)
            else:
                files.close()
            raise
        return cls(started[0], files, max_output)

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)  # it has ended: returns at once
        code = os.waitstatus_to_exitcode(status)
        output, errors = self._files.read(self._max_output)
        self._files.close()
        if not self._ended.done():
            self._ended.set_result(Finished(code, output, errors))

    async def wait(self) -> Finished:
        """Its end. Cancelling leaves the child running, and it is reaped all the same."""
        return await asyncio.shield(self._ended)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back on the loop once it has ended and is reaped."""
        self._ended.add_done_callback(lambda _: callback())

    def kill(self, *, group: bool = False) -> None:
        """Kill it while it runs; with all that it has started where it leads a group."""
        if not self._ended.done():
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)


class _Files:
    """A child's standard input, output and error: in memory, but for an empty input."""

    def __init__(self, stdin: bytes, *, errors_apart: bool) -> None:
        self._open: list[int] = []
        try:
            if stdin:
                self._open.append(os.memfd_create("input", os.MFD_CLOEXEC))
                os.pwrite(self._open[0], stdin, 0)
            else:
                self._open.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            for name in ("output", "errors")[: 1 + errors_apart]:
                self._open.append(os.memfd_create(name, os.MFD_CLOEXEC))
        except OSError:
            self.close()
            raise
        self.standard = (*self._open, self._open[1])[:3]

    def read(self, limit: int) -> tuple[str, str]:
        """The first ``limit`` bytes of output, and of errors where these are apart."""
        words = [os.pread(file, limit, 0).decode("utf-8", "replace") for file in self._open[1:]]
        return words[0], words[1] if len(words) > 1 else ""

    def close(self) -> None:
        for file in self._open:
            os.close(file)


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


async def run_whole(
    argv: Sequence[str],
    *,
    timeout_s: float | None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    folder: str = "/",
    max_output: int = _MAX_OUTPUT,
) -> Finished:
    """Run a command to its end, or kill it with all that it has started: after ``timeout_s``, or when cancelled.

    Its standard error is told apart.

    Raises:
        FailedPrecondition: the binary is missing. DeadlineExceeded.
    """
    child = await Child.start(
        argv,
        env=env,
        stdin=stdin,
        folder=folder,
        session=True,
        errors_apart=True,
        max_output=max_output,
    )
    try:
        async with asyncio.timeout(timeout_s):
            return await child.wait()
    except BaseException as e:
        child.kill(group=True)
        await complete(child.wait())
        if isinstance(e, TimeoutError) and timeout_s is not None:
            raise DeadlineExceeded(os.path.basename(argv[0]), timeout_s) from e
        raise
