"""Containers' logs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from sharedrt.model.records import LogForward


class LogLine(NamedTuple):
    """One write of a container, without CRI's framing and newline; ``partial``: no newline ended it.

    A tuple, since logs are many: half a million of these a second are made.
    """

    time_ns: int
    stream: int
    """1 stdout, 2 stderr."""
    data: bytes
    partial: bool


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines; times in nanoseconds, 0: no bound; ``tail`` -1: all."""

    follow: bool = False
    since_ns: int = 0
    until_ns: int = 0
    tail: int = -1
    stdout: bool = True
    stderr: bool = True


class LogReader(Protocol):
    """Reads CRI-format log files, also across rotation (``path.TIMESTAMP``, ``path.1``)."""

    def read(
        self, path: Path, query: LogQuery, *, ended: Callable[[], bool]
    ) -> AsyncIterator[Sequence[LogLine]]:
        """Batches of lines. Following ends when ``ended()`` is true and the file is read to its end."""
        ...


@dataclass(frozen=True, slots=True)
class ForwardTarget:
    """Where lines go, and whose they are. ``tag`` is rendered."""

    forward: LogForward
    id: str
    name: str
    image: str
    tag: str


class LogSink(Protocol):
    """A connection to another log."""

    async def send(self, lines: Sequence[LogLine]) -> None:
        """Returns when all are handed over. Raises Unavailable; some may have arrived then."""
        ...


class LogForwarder(Protocol):
    """Takes container logs to the host's or another machine's log."""

    def open(self, target: ForwardTarget) -> AbstractAsyncContextManager[LogSink]:
        """Connect. Raises Unavailable: nobody is there."""
        ...


@dataclass(frozen=True, slots=True)
class LogBounds:
    """A log that is kept in several files: ``max_files`` of ``max_bytes`` each, or a little more."""

    path: Path
    max_bytes: int
    max_files: int
    """At least 2: the one that is written to, and its predecessors."""
    compress: bool = False
    """The predecessors with gzip."""


class LogRotator(Protocol):
    """Keeps logs within their bounds, by names that :class:`LogReader` knows."""

    async def due(self, logs: Sequence[LogBounds]) -> Sequence[LogBounds]:
        """Those that have grown beyond their size, or whose rotation was cut off."""
        ...

    async def rotate(self, log: LogBounds, reopen: Callable[[], Awaitable[None]]) -> None:
        """Begin a new file.

        Args:
            reopen: has the writer open ``path`` anew; may raise NotFound and FailedPrecondition when there is none.

        Raises:
            Internal: the files cannot be moved. What ``reopen`` raises.
        """
        ...
