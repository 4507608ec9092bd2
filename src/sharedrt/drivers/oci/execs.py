"""Exec: a further process in a running container, supervised by a conmon of its own.

That conmon is a child of the daemon (``--sync``) and does what the daemon would have to do itself: it is subreaper
to the process, so its exit code is the kernel's and not a runtime's guess; it holds pipes or terminal without
a byte passing through a runtime; and runtimes that want ``--detach`` with a console socket are all served alike.
Measured, it costs no more than the runtime in the foreground would.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from sharedrt.aio.tasks import TaskOwner
from sharedrt.drivers.children import Child
from sharedrt.drivers.oci.ahead import runtime_ahead
from sharedrt.drivers.oci.attach_socket import AttachSocket
from sharedrt.drivers.oci.bundle import read_pid
from sharedrt.drivers.oci.conmon import runtime_arguments
from sharedrt.drivers.oci.control import Resizer
from sharedrt.drivers.oci.errors import OTHER, start_failed
from sharedrt.drivers.oci.exits import KILLED
from sharedrt.drivers.oci.lost_execs import MARK
from sharedrt.drivers.oci.output import OutputQueue
from sharedrt.drivers.oci.procs import ending, identify, kill_group
from sharedrt.drivers.oci.state import BundleState
from sharedrt.drivers.oci.sync_pipe import SyncPipe
from sharedrt.model.drivers import ProcessIdentity
from sharedrt.model.faults import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Fault,
    StartFailed,
)
from sharedrt.model.stdio import StdStream

log = structlog.get_logger(__name__)
_QUEUE_LIMIT = 256 << 10


@dataclass(frozen=True, slots=True)
class ExecLaunch:
    """One exec to start; ``process`` is OCI's, complete; output of streams not in ``streams`` is dropped."""

    conmon: str
    container_id: str
    folder: Path
    state: BundleState
    process: Mapping[str, Any]
    stdin: bool
    streams: frozenset[StdStream]
    kill_on_close: bool
    timeout_s: float
    abandoned: TaskOwner
    """Ends those whose callers gave up while they were starting."""

    @property
    def tty(self) -> bool:
        return bool(self.process.get("terminal"))


class ExecSession:
    """A running exec. Implements model's StdioSession; ``wait`` works after ``close``, too.

    A client that does not read stops the process by its full pipe; closing lets it run on without output,
    or kills it and its process group, as the session was made.
    """

    def __init__(self, launch: ExecLaunch, child: Child, sync: SyncPipe) -> None:
        self._launch, self._child, self._sync = launch, child, sync
        self._socket: AttachSocket | None = None
        self._queue = OutputQueue(self._on_room)
        self._resizer = Resizer(launch.folder)
        self._exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._in_handshake = True
        self._stdin_closed = False
        self.process: ProcessIdentity | None = None
        self.starting = False
        """The runtime may be making the process, whose pid conmon has not told yet."""
        child.on_end(self._on_conmon_end)

    def joined(self, socket: AttachSocket) -> None:
        self._socket = socket

    def on_output(self, stream: StdStream, data: bytes) -> None:
        if stream in self._launch.streams:
            self._queue.put(stream, data)
            if self._queue.size_bytes >= _QUEUE_LIMIT and self._socket is not None:
                self._socket.pause()

    def _on_room(self) -> None:
        if self._queue.size_bytes < _QUEUE_LIMIT and self._socket is not None:
            self._socket.resume()

    def on_output_end(self) -> None:
        self._queue.end()

    def _on_conmon_end(self) -> None:
        self._resizer.close()
        codes = [message.data for message in self._sync.rest()]
        self._sync.close()
        if codes and codes[-1] >= 0:
            self._exit_code.set_result(codes[-1])
        else:
            # conmon was killed: nobody will learn the code, so nothing shall go on under it
            self.kill()
            self._exit_code.set_result(KILLED)
        self._remove_folder()

    async def last_words(self) -> str:
        """What conmon said before it gave up."""
        return (await self._child.wait()).output

    def begun(self) -> None:
        """The handshake is over, well or not: from now on the folder goes when conmon goes."""
        self._in_handshake = False
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._exit_code.done() and not self._in_handshake:
            shutil.rmtree(self._launch.folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL to the process and its group; nothing when it has ended."""
        process = self.process or identify(read_pid(self._launch.folder / "pidfile"))
        if process is not None:
            kill_group(process)

    @property
    def tty(self) -> bool:
        return self._launch.tty

    async def read(self) -> tuple[StdStream, bytes] | None:
        return await self._queue.read()

    async def write(self, data: bytes) -> None:
        if not self._launch.stdin:
            raise FailedPrecondition("exec", self._launch.folder.name, "stdin is not open")
        if self._socket is None or self._stdin_closed:
            raise FailedPrecondition("exec", self._launch.folder.name, "stdin is closed")
        await self._socket.send(data)

    async def close_stdin(self) -> None:
        if self._launch.stdin and not self._stdin_closed and self._socket is not None:
            self._stdin_closed = True
            await self._socket.half_close()

    async def resize(self, width: int, height: int) -> None:
        if not self.tty:
            raise FailedPrecondition("exec", self._launch.folder.name, "has no terminal")
        await self._resizer.resize(width, height)

    async def wait(self) -> int:
        """The exit code; 137 when its conmon was killed. Output not read yet may keep it from coming."""
        return await asyncio.shield(self._exit_code)

    async def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._queue.end()
        self._queue.clear()
        if self._launch.kill_on_close:
            self.kill()
        await asyncio.sleep(0)

    async def __aenter__(self) -> "ExecSession":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def start_exec(launch: ExecLaunch) -> ExecSession:
    """Start the process; attached before its first byte. Cancelled, nothing is left running.

    Raises:
        StartFailed: 127, 126 or 128. FailedPrecondition: conmon is missing, or the container has ended.
        DeadlineExceeded.
        AlreadyExists: an exec of that id is running.
    """
    try:
        launch.folder.parent.mkdir(exist_ok=True)
        launch.folder.mkdir()
    except FileExistsError as e:
        raise AlreadyExists("exec", launch.folder.name) from e
    except FileNotFoundError as e:  # its bundle is gone
        raise FailedPrecondition("container", launch.container_id, "is not running") from e
    if launch.kill_on_close:
        (launch.folder / MARK).touch()
    (launch.folder / "process.json").write_text(json.dumps(launch.process))
    try:
        child, sync, attached, start_pipe = await _spawn(launch)
    except BaseException:
        shutil.rmtree(launch.folder, ignore_errors=True)
        raise
    session = ExecSession(launch, child, sync)
    try:
        async with asyncio.timeout(launch.timeout_s):
            await _handshake(launch, session, sync, attached, start_pipe)
    except BaseException as e:
        if session.starting:
            launch.abandoned.spawn(_end_abandoned(launch, session, child, sync), "abandoned exec")
        else:
            await _give_up(session, child)
        if isinstance(e, TimeoutError):
            raise DeadlineExceeded(f"exec in {launch.container_id}", launch.timeout_s) from e
        raise
    finally:
        os.close(start_pipe)
        attached.close()
    session.begun()
    return session


async def _end_abandoned(
    launch: ExecLaunch, session: ExecSession, child: Child, sync: SyncPipe
) -> None:
    """Wait for the pid and kill it. A conmon killed at once takes the runtime along, but not a process that
    it had just let go: that one would run on, unknown to all."""
    try:
        async with asyncio.timeout(launch.timeout_s):
            await _process_of(launch, session, sync)
    except (Fault, TimeoutError) as error:
        log.info("abandoned exec", container=launch.container_id, error=str(error))
    finally:
        await _give_up(session, child)


async def _give_up(session: ExecSession, child: Child) -> None:
    child.kill()
    session.kill()
    await session.close()
    session.begun()


async def _spawn(launch: ExecLaunch) -> tuple[Child, SyncPipe, SyncPipe, int]:
    sync_read, sync_write = os.pipe()
    attach_read, attach_write = os.pipe()
    start_read, start_write = os.pipe()
    sync, attached = SyncPipe(sync_read), SyncPipe(attach_read)
    passed = (sync_write, attach_write, start_read)
    env = {"_OCI_SYNCPIPE": "3", "_OCI_ATTACHPIPE": "4", "_OCI_STARTPIPE": "5"}
    try:
        os.write(
            start_write, b"\0"
        )  # the first wait is for a cgroup; the runtime moves the process anyway
        child = await Child.start(arguments(launch), env=env, pass_fds=passed)
    except BaseException:
        sync.close()
        attached.close()
        os.close(start_write)
        raise
    finally:
        for fd in passed:
            os.close(fd)
    return child, sync, attached, start_write


def arguments(launch: ExecLaunch) -> Sequence[str]:
    """conmon(8)'s command line for an exec."""
    folder = launch.folder
    runtime = launch.state.runtime
    sized = launch.tty and "consoleSize" in launch.process
    argv = [
        launch.conmon, "--api-version", "1", "--sync", "-e", "--exec-attach",
        "-c", launch.container_id, "-u", launch.container_id,
        *(runtime_ahead(runtime) if sized else ("-r", runtime)),
        *runtime_arguments(launch.state, folder / "exec.log"),
        "--exec-process-spec", str(folder / "process.json"), "-p", str(folder / "pidfile"),
        "-b", str(folder), "--full-attach", "-l", "none",
    ]  # fmt: skip
    if launch.tty:
        argv.append("-t")
    if launch.stdin:
        argv.append("-i")
    return argv


async def _handshake(
    launch: ExecLaunch, session: ExecSession, sync: SyncPipe, attached: SyncPipe, start_pipe: int
) -> None:
    """conmon says that its socket listens; we connect; we say start; it says the pid."""
    if await attached.next() is None:
        raise _start_failed(launch, await session.last_words())
    session.joined(
        await AttachSocket.connect(launch.folder, session.on_output, session.on_output_end)
    )
    os.write(start_pipe, b"\0")
    session.starting = True
    await _process_of(launch, session, sync)
    session.starting = False


async def _process_of(launch: ExecLaunch, session: ExecSession, sync: SyncPipe) -> None:
    message = await sync.next()
    if message is None or message.data <= 0:
        session.starting = False
        raise _start_failed(launch, message.message if message is not None else "")
    session.process = identify(message.data)


def _start_failed(launch: ExecLaunch, words: str) -> StartFailed | FailedPrecondition:
    """Runtimes have odd words for a container that is ending while its exec is on its way: we know better."""
    command = str(launch.process["args"][0])
    fault = start_failed(launch.container_id, words, launch.folder / "exec.log", command)
    if fault.exit_code == OTHER and ending(launch.state.process):
        return FailedPrecondition("container", launch.container_id, "is not running")
    return fault
