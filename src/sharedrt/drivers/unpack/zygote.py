"""The helper process as the daemon sees it: started, given jobs, ended."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import complete, run_blocking
from sharedrt.drivers.unpack import messages
from sharedrt.drivers.unpack.messages import Message
from sharedrt.model.faults import Internal

_BOOTSTRAP: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from sharedrt.drivers.unpack.worker import main; main(int(sys.argv[1]))"
)


class Zygote:
    """One helper process. Made by :meth:`start`; ends when closed, or with the daemon."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._exited = asyncio.Event()
        self._pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @classmethod
    async def start(cls) -> "Zygote":
        """Start the process; it may take its first jobs at once. Raises Internal. Cancelled, it leaves none behind."""
        made: list[Zygote] = []

        async def make() -> None:
            made.append(cls(*await run_blocking(None, _spawn)))

        try:
            await complete(make())
        except OSError as error:
            raise Internal("layer worker", f"cannot start: {error}") from error
        except asyncio.CancelledError:
            for zygote in made:
                zygote.close()
                await complete(zygote.wait())
            raise
        return made[0]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return not self._exited.is_set()

    def submit(self, order: Message, descriptors: Sequence[int]) -> None:
        """Hand over a job; the descriptors are duplicated on the way. Raises OSError."""
        messages.send(self._control, order, descriptors)

    def close(self) -> None:
        """Let it end, and its workers with it. Idempotent."""
        self._control.close()

    async def wait(self) -> None:
        """Until it has ended and has been reaped."""
        await self._exited.wait()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()  # has ended
        self._control.close()
        self._exited.set()


class Job:
    """A worker's job, from the caller's side: messages until the worker is gone."""

    def __init__(self) -> None:
        self._socket, self.worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._pidfd = -1
        self._submitted = False
        self._silent = False

    def submit(self, zygote: Zygote, order: Message, folder: int, stream: int) -> None:
        """Raises OSError when the helper is gone."""
        zygote.submit(order, (self.worker_end.fileno(), folder, stream))
        self.worker_end.close()
        self._submitted = True

    async def receive(self) -> tuple[Message, list[int]] | None:
        """The worker's next message, whose descriptors are the caller's to close; ``None`` after the last.

        Raises Internal when the worker talks nonsense.
        """
        while not self._silent:
            received = await self._take()
            if received is not None:
                return received
        return None

    async def end(self) -> None:
        """Kill the worker unless it has ended, and wait until it is gone."""
        self.worker_end.close()
        try:
            while self._submitted and self._pidfd < 0 and not self._silent:
                with contextlib.suppress(Internal):
                    received = await self._take()
                    messages.close_all(received[1] if received else [])
            if self._pidfd >= 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                await readable(self._pidfd)
        finally:
            self._socket.close()
            if self._pidfd >= 0:
                os.close(self._pidfd)

    async def _take(self) -> tuple[Message, list[int]] | None:
        """The next packet; ``None`` when it was the helper's, or the end."""
        try:
            received = messages.receive(self._socket)
        except BlockingIOError:
            await readable(self._socket.fileno())
            return None
        except ConnectionResetError:
            received = None
        except ValueError as error:
            raise Internal("layer worker", f"a malformed message ({error})") from error
        match received:
            case None | ({"type": "ended"}, []):
                self._silent = True
            case ({"type": "started"}, [pidfd]) if self._pidfd < 0:
                self._pidfd = pidfd
            case _:
                return received
        return None


async def readable(descriptor: int) -> None:
    """Wait until a descriptor that no one else watches can be read."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def writable(descriptor: int) -> None:
    """Wait until a descriptor that no one else watches takes data, or will never again."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _spawn() -> "tuple[subprocess.Popen[bytes], socket.socket]":
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.setblocking(False)
        try:
            process = subprocess.Popen(
                # -S: no site customisation; -I: nothing from the environment. Its imports come from our path.
                [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(theirs.fileno()), *_path()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env={},
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    return process, ours


def _path() -> list[str]:
    """Where the daemon found its modules, ours first."""
    ours = str(Path(__file__).parents[3])
    return [ours, *(entry for entry in sys.path if entry.startswith("/") and entry != ours)]
