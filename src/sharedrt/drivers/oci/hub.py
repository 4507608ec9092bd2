"""Attach: one connection to a container's conmon, shared by all its clients.

conmon writes to its clients one after the other and waits for each: a client that does not read would stop the
container's output, and its log. So the daemon keeps reading, and each client has a bounded queue:

* clients that attach to a running container are dropped when their queue is full (``ResourceExhausted``);
* clients that attached before the start (``docker run`` in the foreground) are the output's owners: a slow one
  slows the container down, as with Docker, since ``docker run ... | xz`` must not lose a byte.

With stdin_once conmon closes the process's stdin as soon as any client hangs up. Sharing the connection lets
clients that only watch come and go; it is kept until the container ends, or a client closes stdin in so many words.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from sharedrt.drivers.oci.attach_socket import AttachSocket
from sharedrt.drivers.oci.control import Resizer
from sharedrt.drivers.oci.output import OutputQueue
from sharedrt.drivers.oci.state import BundleState
from sharedrt.model.faults import FailedPrecondition, ResourceExhausted
from sharedrt.model.stdio import StdStream

WATCHER_LIMIT: Final = 4 << 20
"""Bytes that a slow client may lag behind a running container."""

OWNER_LIMIT: Final = 256 << 10


class AttachHub:
    """The clients of one run of one container.

    Args:
        resizer: of its terminal.
        on_close: called once, when the connection has ended and no client can join any more.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        state: BundleState,
        resizer: Resizer,
        on_close: Callable[[], None],
    ) -> None:
        self.name, self.state = name, state
        self.resizer = resizer
        self.closed = False
        self._folder = folder
        self._on_close = on_close
        self._socket: AttachSocket | None = None
        self._sessions: list[AttachSession] = []
        self._process_ended = False
        self._stdin_closed = False

    async def connect(self) -> None:
        """Raises FailedPrecondition when the container has ended."""
        self._socket = await AttachSocket.connect(self._folder, self._on_output, self._on_end)

    def join(self, *, owner: bool, exit_code: Callable[[], Awaitable[int]]) -> "AttachSession":
        """A new client.

        Args:
            owner: it attached before the start, so that its slowness may slow the container.
            exit_code: waits for the run's exit code.
        """
        session = AttachSession(self, owner=owner, exit_code=exit_code)
        self._sessions.append(session)
        return session

    def leave(self, session: "AttachSession") -> None:
        if session in self._sessions:
            self._sessions.remove(session)
        self.resume_if_room()
        keeps_stdin = self.state.stdin and self.state.stdin_once and not self._stdin_closed
        if not self._sessions and not keeps_stdin:
            self.close()

    def process_ended(self) -> None:
        """What is still to come is little (two pipes' worth): conmon must get rid of it to write the exit file."""
        self._process_ended = True
        if self._socket is not None:
            self._socket.resume()

    def _on_output(self, stream: StdStream, data: bytes) -> None:
        for session in tuple(self._sessions):
            session.queue.put(stream, data)
            if self._process_ended:
                continue
            if session.owner:
                if session.queue.size_bytes >= OWNER_LIMIT and self._socket is not None:
                    self._socket.pause()
            elif session.queue.size_bytes >= WATCHER_LIMIT:
                reason = f"reads too slowly: more than {WATCHER_LIMIT} bytes behind"
                session.queue.end(ResourceExhausted("attached client", reason))
                self._sessions.remove(session)

    def resume_if_room(self) -> None:
        full = any(s.owner and s.queue.size_bytes >= OWNER_LIMIT for s in self._sessions)
        if self._socket is not None and not full:
            self._socket.resume()

    def _on_end(self) -> None:
        for session in self._sessions:
            session.queue.end()
        self._sessions.clear()
        self.close()

    async def write(self, data: bytes) -> None:
        if not self.state.stdin:
            raise FailedPrecondition("container", self.name, "stdin is not open")
        if self._socket is None or self.closed or self._stdin_closed:
            raise FailedPrecondition("container", self.name, "stdin is closed")
        await self._socket.send(data)

    async def close_stdin(self) -> None:
        """With stdin_once the process reads end-of-file; otherwise, and on a terminal, stdin outlives every client."""
        once = self.state.stdin and self.state.stdin_once and not self.state.tty
        if once and self._socket is not None:
            self._stdin_closed = True
            await self._socket.half_close()

    def close(self) -> None:
        """Hang up; clients see the end. Idempotent."""
        if self.closed:
            return
        self.closed = True
        if self._socket is not None:
            self._socket.close()
        for session in self._sessions:
            session.queue.end()
        self._sessions.clear()
        self._on_close()


class AttachSession:
    """One client of a container. Implements model's StdioSession."""

    def __init__(
        self, hub: AttachHub, *, owner: bool, exit_code: Callable[[], Awaitable[int]]
    ) -> None:
        self._hub = hub
        self.owner = owner
        self._exit_code = exit_code
        self._stdin_closed = False
        self.queue = OutputQueue(hub.resume_if_room)

    @property
    def tty(self) -> bool:
        return self._hub.state.tty

    async def read(self) -> tuple[StdStream, bytes] | None:
        """Raises ResourceExhausted, after what was queued, when this client fell too far behind."""
        return await self.queue.read()

    async def write(self, data: bytes) -> None:
        if self._stdin_closed:
            raise FailedPrecondition("container", self._hub.name, "stdin is closed")
        await self._hub.write(data)

    async def close_stdin(self) -> None:
        if not self._stdin_closed:
            self._stdin_closed = True
            await self._hub.close_stdin()

    async def resize(self, width: int, height: int) -> None:
        if not self.tty:
            raise FailedPrecondition("container", self._hub.name, "has no terminal")
        await self._hub.resizer.resize(width, height)

    async def wait(self) -> int:
        return await self._exit_code()

    async def close(self) -> None:
        self.queue.end()
        self.queue.clear()
        self._hub.leave(self)
        await asyncio.sleep(0)  # a cancellation point, as every close has

    async def __aenter__(self) -> "AttachSession":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
