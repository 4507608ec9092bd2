"""Progress bars for long work, on standard error and on a terminal only."""

import os
import sys
from typing import IO, TYPE_CHECKING, Any, Final

from sharedrt.cli.client import Reply
from sharedrt.cli.output import short

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

_DONE: Final = frozenset({"pull complete", "already exists", "download complete"})
_COUNTED: Final = frozenset({"downloading", "extracting"})


class LayerBars:
    """One bar for each layer, named by what is being done to it. A context manager."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}

    def __enter__(self) -> "LayerBars":
        if sys.stderr.isatty():
            self._progress = _make_progress()
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, step: Reply) -> None:
        """Show one step as the daemon tells it."""
        if not step["id"].startswith("sha256:"):
            return
        key, phase, total = step["id"], step["phase"], step["total"]
        if phase in _COUNTED:
            self._totals[key] = total
        known = self._totals.get(key, 0)
        done = known if phase in _DONE else step["current"]
        self.show(key, f"{short(key)} {phase}", done, known)

    def show(self, key: str, text: str, done: int, total: int) -> None:
        """Make or change the bar of ``key``. A total of 0 is an unknown one."""
        if self._progress is None:
            return
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(text, total=None)
        self._progress.update(
            self._tasks[key], description=text, completed=done, total=total or None
        )


class ReadBar:
    """A file that shows how much of it has been read. A context manager; ``read`` as a file's."""

    def __init__(self, bars: LayerBars, file: IO[bytes], name: str) -> None:
        self._bars, self._file = bars, file
        self._name = os.path.basename(name) if name != "-" else "standard input"
        self._done = 0

    def __enter__(self) -> Any:
        """Typed as Any: http.client asks a body for nothing but ``read``."""
        stat = os.fstat(self._file.fileno())
        self._total = stat.st_size
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        self._bars.show("archive", f"reading {self._name}", self._done, self._total)
        return data


def _make_progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
