"""A log and its rotated predecessors as one sequence of lines. Blocking: call on threads."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sharedrt.model.drivers import LogLine, LogQuery
from sharedrt.model.faults import DataLoss
from sharedrt.wire.cri_log import LineParser, parse_line

BLOCK: Final = 256 << 10
_BACK: Final = 64 << 10
_SLACK_NS: Final = 10 * 1_000_000_000
_MAX_LINE: Final = 4 << 20
"""A longer piece without a newline is no log of ours, and is dropped."""
_SUFFIX: Final = re.compile(r"\.(?:(?P<time>\d{8}-\d{6})|(?P<number>\d{1,6}))")

_PLAIN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW

Identity = tuple[int, int]


class LogFiles:
    """Reads on from file to file. Not to be used by two threads at once.

    Finds the predecessors of ``path`` by name: ``path.20240101-120000`` as the kubelet renames them, and
    ``path.1``, the higher the older. (Compressed ones are the kubelet's; it reads them itself.)
    """

    def __init__(self, path: Path, query: LogQuery) -> None:
        self._path = path
        self._query = query
        self._parser = LineParser()
        self._files: list[tuple[int, int]] = []
        """Descriptors that come after the current one, with the offset to begin at."""
        self._current = -1
        self._offset = 0
        self._rest = b""
        self._past_until = False

    @property
    def finished(self) -> bool:
        """Nothing that may still come is asked for."""
        return self._past_until

    def open(self) -> None:
        """Open what there is, and find where to begin. Nothing there is no error. Raises OSError."""
        for path in self._sequence():
            try:
                descriptor = os.open(path, _PLAIN)
            except FileNotFoundError:
                continue
            self._files.append((descriptor, 0))
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(f"{path} is no plain file")
            if path != self._path and info.st_mtime_ns < self._query.since_ns:
                os.close(self._files.pop()[0])
        if self._query.tail >= 0:
            self._skip_to_tail(self._query.tail)
        elif self._query.since_ns:
            self._files = [
                (descriptor, _offset_since(descriptor, self._query.since_ns))
                for descriptor, _ in self._files
            ]
        self._next()

    def close(self) -> None:
        for descriptor, _ in self._files:
            os.close(descriptor)
        self._files.clear()
        if self._current >= 0:
            os.close(self._current)
            self._current = -1

    def read(self) -> list[LogLine] | None:
        """The next lines that the query asks for (there may be none in a block); ``None`` at the end,
        which may have moved when asked again. Raises OSError."""
        while not self._past_until:
            if self._current < 0 and not self._follow():
                return None
            data = os.pread(self._current, BLOCK, self._offset)
            if not data:
                if self._files:
                    self._next()
                    continue
                if self._follow():
                    continue
                return None
            self._offset += len(data)
            if self._rest:
                data = self._rest + data
            end = data.rfind(b"\n") + 1
            self._rest = data[end:] if len(data) - end <= _MAX_LINE else b""
            if end:
                return self._wanted(self._parser.parse(data[:end]))
        return None

    # ------------------------------------------------------------ what the query asks for

    def _wanted(self, lines: list[LogLine]) -> list[LogLine]:
        query = self._query
        if query.since_ns:
            lines = [line for line in lines if line.time_ns >= query.since_ns]
        if query.until_ns and lines:
            # Only a whole block of later lines means that no earlier ones follow.
            self._past_until = min(line.time_ns for line in lines) > query.until_ns
            lines = [line for line in lines if line.time_ns <= query.until_ns]
        if not (query.stdout and query.stderr):
            wanted = {1} if query.stdout else {2} if query.stderr else set()
            lines = [line for line in lines if line.stream in wanted]
        return lines

    def _skip_to_tail(self, count: int) -> None:
        """Begin so that ``count`` lines are left of all files (whatever their time or stream, as the
        kubelet and dockerd count)."""
        for number in range(len(self._files) - 1, -1, -1):
            descriptor, _ = self._files[number]
            offset, found = _tail_offset(descriptor, count)
            self._files[number] = (descriptor, offset)
            count -= found
            if count <= 0:
                for earlier, _ in self._files[:number]:
                    os.close(earlier)
                del self._files[:number]
                return

    # ------------------------------------------------------------ files

    def _sequence(self) -> Sequence[Path]:
        """All files of this log, the oldest first."""
        prefix = self._path.name
        times: list[str] = []
        numbers: list[int] = []
        try:
            names = os.listdir(self._path.parent)
        except FileNotFoundError:
            return ()
        for name in names:
            if name.startswith(prefix) and (match := _SUFFIX.fullmatch(name[len(prefix) :])):
                if match["time"]:
                    times.append(match["time"])
                elif str(int(match["number"])) == match["number"]:
                    numbers.append(int(match["number"]))
        suffixes = [str(number) for number in sorted(numbers, reverse=True)] + sorted(times)
        return [self._path.with_name(f"{prefix}.{suffix}") for suffix in suffixes] + [self._path]

    def _next(self) -> None:
        """Go on to the next open file, if there is one."""
        if not self._files:
            return
        if self._current >= 0:
            os.close(self._current)
        self._current, self._offset = self._files.pop(0)
        self._rest = b""

    def _follow(self) -> bool:
        """At the current file's end: whether there is more to read after all, in a file that has come
        in its place, or in the same one that was cut to nothing."""
        here: Identity | None = None
        if self._current >= 0:
            info = os.fstat(self._current)
            here = (info.st_dev, info.st_ino)
            if info.st_size < self._offset:
                self._offset, self._rest = 0, b""
                return info.st_size > 0
            if _identity(self._path) in (None, here):
                return False  # nothing new, or renamed away and still written to
            # The writer opened the new file first; what it wrote to the old one before is there by now.
            if os.fstat(self._current).st_size > self._offset:
                return True
        sequence = self._sequence()
        begin = 0
        if here is not None:
            places = [_identity(path) for path in sequence]
            begin = places.index(here) + 1 if here in places else len(sequence) - 1
        for path in sequence[max(begin, 0) :]:
            try:
                self._files.append((os.open(path, _PLAIN), 0))
            except FileNotFoundError:
                continue
        if not self._files:
            return False
        self._next()
        return True


def _identity(path: Path) -> Identity | None:
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    return info.st_dev, info.st_ino


def _offset_since(descriptor: int, since_ns: int) -> int:
    """A line's begin before which no line is as late as ``since_ns``: found by halving, near enough.

    Times go up in a log, but for the two streams' order and small steps of the clock, which the slack
    allows for.
    """
    low, high = 0, os.fstat(descriptor).st_size
    while high - low > BLOCK:
        middle = (low + high) // 2
        block = os.pread(descriptor, _BACK, middle)
        begin = block.find(b"\n") + 1
        end = block.find(b"\n", begin)
        try:
            time_ns = parse_line(block[begin:end]).time_ns if 0 < begin <= end else since_ns
        except DataLoss:
            time_ns = since_ns
        if time_ns < since_ns - _SLACK_NS:
            low = middle + begin
        else:
            high = middle
    return low


def _tail_offset(descriptor: int, count: int) -> tuple[int, int]:
    """Where the last ``count`` whole lines begin, and how many there are (fewer in a short file)."""
    end = os.fstat(descriptor).st_size
    if count == 0:
        return end, 0
    found = -1  # the newline that ends the last line begins none
    at = end
    while at > 0:
        start = max(0, at - _BACK)
        block = os.pread(descriptor, at - start, start)
        newlines = block.count(b"\n")
        if found + newlines >= count:
            place = len(block)
            for _ in range(count - found):
                place = block.rfind(b"\n", 0, place)
            return start + place + 1, count
        found += newlines
        at = start
    return 0, found + 1
