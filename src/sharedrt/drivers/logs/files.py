"""A log and its rotated predecessors as one sequence of lines. Blocking: call on threads."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sharedrt.drivers.logs.compressed import open_plain
from sharedrt.model.drivers import LogLine, LogQuery
from sharedrt.model.faults import DataLoss
from sharedrt.wire.cri_log import LineParser, parse_line

BLOCK: Final = 256 << 10
_BACK: Final = 64 << 10
_SLACK_NS: Final = 10 * 1_000_000_000
_MAX_LINE: Final = 4 << 20
"""A longer piece without a newline is no log of ours, and is dropped."""
_SUFFIX: Final = re.compile(r"\.(?:(?P<time>\d{8}-\d{6})|(?P<number>\d{1,6})(?P<packed>\.gz)?)")
_OPEN_TRIES: Final = 5

Identity = tuple[int, int]


class LogFiles:
    """Reads on from file to file. Not to be used by two threads at once.

    Finds the predecessors of ``path`` by name: ``path.20240101-120000`` as the kubelet renames them, and
    ``path.1`` or ``path.1.gz`` as we do, the higher the older. (The kubelet reads those that it compresses itself.)
    """

    def __init__(self, path: Path, query: LogQuery) -> None:
        self._path = path
        self._query = query
        self._parser = LineParser()
        self._files: list[tuple[int, int]] = []
        """Descriptors that come after the current one, with the offset to begin at."""
        self._current = -1
        self._offset = 0
        self._end: int | None = None
        """Of the newest file, where its last lines are asked for and no later ones."""
        self._rest = b""
        self._past_until = False
        self._last_ns = 0
        self._after_ns = 0
        """Lines up to this time have been read."""

    @property
    def finished(self) -> bool:
        """Nothing that may still come is asked for."""
        return self._past_until

    def open(self) -> None:
        """Open what there is, and find where to begin. Nothing there is no error. Raises OSError."""
        for _ in range(_OPEN_TRIES):
            before = self._places()
            self._open_all()
            if self._places() == before:
                break
            # Rotated meanwhile: one may be missing, or there twice.
            self.close()
        else:
            self._open_all()
        self._next()

    def _open_all(self) -> None:
        """The newest first: of the others only those that are needed, since they may be compressed."""
        left = self._query.tail
        self._end = None
        for path in reversed(self._sequence()):
            descriptor = self._open(path)
            if descriptor is None:
                continue
            since_ns = self._query.since_ns
            if path != self._path and os.fstat(descriptor).st_mtime_ns < since_ns:
                os.close(descriptor)
                return
            offset = 0
            if left >= 0:
                # Whatever their time or stream, as the kubelet and dockerd count.
                end = os.fstat(descriptor).st_size
                if path == self._path and not self._query.follow:
                    self._end = end
                offset, found = _tail_offset(descriptor, end, left)
                left -= found
            elif since_ns:
                offset = _offset_since(descriptor, since_ns)
            self._files.insert(0, (descriptor, offset))
            if left == 0:
                return

    def _open(self, path: Path) -> int | None:
        """``None`` when it is not there any more. Raises OSError for what is no plain file."""
        try:
            descriptor = open_plain(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{path} is no plain file")
        return descriptor

    def _places(self) -> list[Identity | None]:
        return [_identity(path) for path in self._sequence()]

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
            length = BLOCK
            if self._end is not None and not self._files:
                length = max(0, min(BLOCK, self._end - self._offset))
            data = os.pread(self._current, length, self._offset)
            if not data:
                if self._files:
                    self._next()
                    continue
                if self._end is not None:
                    return None
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
        if lines:
            self._last_ns = lines[-1].time_ns
        if self._after_ns:
            lines = [line for line in lines if line.time_ns > self._after_ns]
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

    # ------------------------------------------------------------ files

    def _sequence(self) -> Sequence[Path]:
        """All files of this log, the oldest first."""
        prefix = self._path.name
        times: list[str] = []
        numbers: dict[int, str] = {}
        try:
            names = os.listdir(self._path.parent)
        except FileNotFoundError:
            return ()
        for name in names:
            if name.startswith(prefix) and (match := _SUFFIX.fullmatch(name[len(prefix) :])):
                if match["time"]:
                    times.append(match["time"])
                elif str(int(match["number"])) == match["number"]:
                    packed = match["packed"] or ""
                    # Both: a daemon was killed before it had removed the plain one.
                    numbers[int(match["number"])] = min(
                        packed, numbers.get(int(match["number"]), packed)
                    )
        suffixes = [f"{number}{numbers[number]}" for number in sorted(numbers, reverse=True)]
        suffixes += sorted(times)
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
            if here in places:
                begin = places.index(here) + 1
            else:
                # Compressed or removed while we read it: what is later than its last line is new to us.
                self._after_ns = self._last_ns
        for path in sequence[begin:]:
            if (descriptor := self._open(path)) is not None:
                self._files.append((descriptor, 0))
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


def _tail_offset(descriptor: int, end: int, count: int) -> tuple[int, int]:
    """Where the last ``count`` whole lines before ``end`` begin, and how many there are (fewer in a short file)."""
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
