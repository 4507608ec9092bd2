"""Times as the Engine API writes them, exact to the nanosecond (floats would lose them)."""

import re
import time
from datetime import UTC, datetime
from typing import Final

ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""Go's zero time: what Docker says for a time that never was."""

_UNIX = re.compile(r"(-?\d+)(?:\.(\d{1,9}))?")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9})\d*)?)?(Z|[+-]\d\d:\d\d)?"
)
_DURATION = re.compile(r"([+-]?)((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with as many of nine decimals as there are; 0 is Go's zero time."""
    if not time_ns:
        return ZERO_TIME
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


class LogClock:
    """RFC 3339 with nine decimals, always: the prefix of log lines, where columns must line up.

    Consecutive lines share their second, so its text is kept.
    """

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def format(self, time_ns: int) -> bytes:
        second, nanos = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
        return self._text + b"%09dZ" % nanos


def parse_duration(text: str) -> int:
    """Go's duration syntax (``1h30m``, ``1.5s``) to nanoseconds. Raises ValueError."""
    if text == "0":
        return 0
    if not (found := _DURATION.fullmatch(text)):
        raise ValueError(f"invalid duration {text!r}")
    total = 0
    for number, unit in _PART.findall(found[2]):
        whole, _, fraction = number.partition(".")
        total += int(whole) * _UNITS[unit]
        if fraction:
            total += int(fraction) * _UNITS[unit] // 10 ** len(fraction)
    return -total if found[1] == "-" else total


def format_duration(duration_ns: int) -> str:
    """As Go prints a duration that is not negative: ``1m30s``, ``1.5ms``, ``0s``."""
    if duration_ns < _UNITS["s"]:
        for unit in ("ms", "µs", "ns"):
            if duration_ns >= _UNITS[unit]:
                return _decimal(duration_ns, _UNITS[unit]) + unit
        return "0s"
    minutes, rest = divmod(duration_ns, _UNITS["m"])
    seconds = _decimal(rest, _UNITS["s"]) + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else str(whole)


def parse_timestamp(text: str, *, now_ns: int) -> int:
    """A moment in nanoseconds: seconds since 1970 with decimals, RFC 3339, or a duration before ``now_ns``.

    Empty and 0 give 0: no bound. Raises ValueError.
    """
    if not text:
        return 0
    if found := _UNIX.fullmatch(text):
        nanos = int((found[2] or "0").ljust(9, "0"))
        seconds = int(found[1])
        return seconds * 1_000_000_000 + (-nanos if found[1].startswith("-") else nanos)
    if found := _RFC3339.fullmatch(text):
        return _from_rfc3339(found)
    return now_ns - parse_duration(text)


def _from_rfc3339(found: "re.Match[str]") -> int:
    day, clock, fraction, zone = found.groups()
    if clock is None:
        clock = "00:00:00"
    elif clock.count(":") == 1:
        clock += ":00"
    offset = "+00:00" if zone in (None, "Z") else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset}").astimezone(UTC)
    except OverflowError as error:  # the year 1 east of Greenwich
        raise ValueError(str(error)) from error
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _SECOND
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


_SECOND = datetime(1970, 1, 1, 0, 0, 1) - datetime(1970, 1, 1)
