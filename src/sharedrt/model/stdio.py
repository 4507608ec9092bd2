"""The live standard streams of a container or an exec, as edges see them."""

from enum import IntEnum
from typing import Protocol


class StdStream(IntEnum):
    """Numbers as in Docker's multiplexed stream and on the kernel's side."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2


class StdioSession(Protocol):
    """A client's hold on running standard streams. An async context manager; leaving it detaches.

    Output is read by one task, input written by another. Buffers are bounded: a client that does not
    read stops nothing but itself (attach drops the slow client, exec stops the process by its full pipe).
    """

    @property
    def tty(self) -> bool:
        """With a terminal, all output arrives as STDOUT."""
        ...

    async def read(self) -> tuple[StdStream, bytes] | None:
        """The next output, at most 64 KiB; ``None`` after the last. Cancelling loses nothing."""
        ...

    async def write(self, data: bytes) -> None:
        """Send to standard input. Raises FailedPrecondition when stdin is not open."""
        ...

    async def close_stdin(self) -> None:
        """Half-close: the process reads end-of-file; output goes on. Idempotent."""
        ...

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters. Raises FailedPrecondition without a terminal."""
        ...

    async def wait(self) -> int:
        """The exit code, once the process has ended (for a container: of this run)."""
        ...

    async def close(self) -> None:
        """Let go. An exec's process that still runs is killed only if the session was made so."""
        ...

    async def __aenter__(self) -> "StdioSession": ...

    async def __aexit__(self, *exc: object) -> None: ...
