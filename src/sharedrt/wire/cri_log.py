"""Log files in CRI's format, as conmon and every CRI runtime write them.

Spec: kubernetes, "CRI: Log Management": one line a write, ``TIME STREAM TAG CONTENT\\n``::

    2024-01-01T00:00:00.000000000+00:00 stdout F the text
    |<- 19 ->|          |<- 9 ->|<- 6 ->|             F: full, P: partial (a longer line goes on)

The time is RFC 3339 with up to nine digits behind the point and any zone. Tags may come in a list,
``P:OTHER``; only the first counts.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from sharedrt.model.drivers import LogLine
from sharedrt.model.faults import DataLoss

STDOUT: Final = 1
STDERR: Final = 2

_LINE: Final = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)"
    rb" (stdout|stderr) ([FP])(?::[^ \n]*)?(?: (.*))?",
    re.DOTALL,
)
_STREAMS: Final = {b"stdout": STDOUT, b"stderr": STDERR}
_NAMES: Final = {STDOUT: b"stdout", STDERR: b"stderr"}
_MAX_KINDS: Final = 64


class LineParser:
    """Parses many lines fast: all that repeats from line to line is looked up, not parsed again.

    conmon's times have a fixed width, so that a line is three slices there: the second, which is the
    last line's mostly; the fraction; and zone, stream and tag, of which there are few.
    """

    def __init__(self) -> None:
        self._second = b""
        self._second_ns = 0
        self._kinds: dict[bytes, tuple[int, int, bool]] = {}

    def parse(self, data: bytes) -> list[LogLine]:
        """Whole lines, each with its newline. Malformed ones (a write cut by a crash) are left out."""
        lines = []
        second, second_ns, kind_of = self._second, self._second_ns, self._kinds.get
        new = tuple.__new__
        for line in data.split(b"\n"):
            kind = kind_of(line[29:45])
            if kind is not None and line[:20] == second:
                zone_ns, stream, partial = kind
                try:
                    time_ns = second_ns + int(line[20:29]) - zone_ns
                except ValueError:
                    continue
                lines.append(new(LogLine, (time_ns, stream, line[45:], partial)))
            elif line:
                try:
                    lines.append(parse_line(line))
                except DataLoss:
                    continue
                self._learn(line)
                second, second_ns = self._second, self._second_ns
        return lines

    def _learn(self, line: bytes) -> None:
        """Of a line of the fixed width: its second, and what its kind means."""
        match = _LINE.fullmatch(line)
        if match is None or match.start(5) != 43 or match.end(5) + 1 != match.start(6):
            return
        if len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        kind = (_zone_ns(match[3]), _STREAMS[match[4]], match[5] == b"P")
        self._kinds[line[29:45]] = kind
        self._second = line[:20]
        self._second_ns = _utc_seconds(match[1]) * 1_000_000_000


def parse_line(line: bytes) -> LogLine:
    """One line without its newline. Raises DataLoss."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise DataLoss("log line", f"not in CRI's format: {line[:80]!r}")
    second, fraction, zone, stream, tag, content = match.groups(b"")
    try:
        time_ns = _utc_seconds(second) * 1_000_000_000 - _zone_ns(zone)
    except ValueError as error:
        raise DataLoss("log line", f"no time: {second!r}") from error
    time_ns += int(fraction.ljust(9, b"0"))
    return LogLine(time_ns, _STREAMS[stream], content, tag == b"P")


def format_line(line: LogLine) -> bytes:
    """As conmon writes it where the zone is UTC, with the newline."""
    seconds, fraction = divmod(line.time_ns, 1_000_000_000)
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0").encode()
    tag = b"P" if line.partial else b"F"
    return b"%b.%09d+00:00 %b %b %b\n" % (stamp, fraction, _NAMES[line.stream], tag, line.data)


def _utc_seconds(text: bytes) -> int:
    """Raises ValueError for a time that never was."""
    time = datetime.fromisoformat(text.decode()).replace(tzinfo=UTC)
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def _zone_ns(zone: bytes) -> int:
    if zone == b"Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return (minutes if zone[:1] == b"+" else -minutes) * 60_000_000_000
