"""Reads CRI-format logs. Being written on the branch ``layers``, which replaces this file."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from sharedrt.model.drivers import LogLine, LogQuery
from sharedrt.model.faults import Unimplemented


class FileLogReader:
    """Implements LogReader."""

    async def read(
        self, path: Path, query: LogQuery, *, ended: Callable[[], bool]
    ) -> AsyncIterator[Sequence[LogLine]]:
        raise Unimplemented("reading logs")
        yield ()

    async def aclose(self) -> None:
        """End what is followed."""
