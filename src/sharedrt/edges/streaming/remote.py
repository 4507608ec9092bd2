"""The client of an exec or attach, whichever protocol it speaks."""

from typing import Protocol

from sharedrt.wire.remote_command import Channel, TerminalSize


class ClientGone(Exception):
    """The client has closed the connection, or broken its protocol."""


class Remote(Protocol):
    """Standard streams at the client's end."""

    protocol: str
    """The negotiated version, such as ``v4.channel.k8s.io``."""

    async def receive(self) -> None:
        """Runs in a task of its own. Raises ClientGone at the end of the connection, and never returns."""
        ...

    async def ready(self) -> None:
        """Wait until all streams are there. Raises DeadlineExceeded."""
        ...

    async def read_stdin(self) -> bytes:
        """The next input; nothing when the client has ended it."""
        ...

    async def read_size(self) -> TerminalSize | None:
        """The terminal's next size; ``None`` when no more come."""
        ...

    async def send(self, channel: Channel, data: bytes) -> None:
        """Output, or the final status; waits while the client does not read. Of a stream that the client did
        not ask for, nothing is sent."""
        ...

    async def finish(self) -> None:
        """All is said: end the streams and the connection."""
        ...
