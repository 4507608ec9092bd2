"""Numbers in tar headers: octal text, GNU's base-256 and pax decimals."""

import re

from sharedrt.model.faults import DataLoss

_PAX_TIME = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?")
_PAX_INTEGER = re.compile(rb"\d{1,19}")


def damaged(reason: str) -> DataLoss:
    """The fault of every malformed archive."""
    return DataLoss("tar archive", reason)


def parse_number(field: bytes) -> int:
    """A numeric header field: octal padded with blanks and NULs, or base-256 (GNU; bit 7 of byte 0).

    An empty field is 0. Raises DataLoss.
    """
    text = field[:-1]
    if text.isdigit() and field[-1] in b"\0 " and not text.strip(b"01234567"):
        return int(text, 8)  # what nearly every field looks like
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=True)
        if field[0] != 0xFF:  # positive: only the top bit is the mark
            value = int.from_bytes(bytes((field[0] & 0x7F,)) + field[1:], "big")
        return value
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    if text.strip(b"01234567"):
        raise damaged(f"malformed number {field!r}")
    return int(text, 8)


def parse_pax_integer(text: bytes) -> int:
    """A non-negative decimal. Raises DataLoss."""
    if not _PAX_INTEGER.fullmatch(text):
        raise damaged(f"malformed pax number {text[:40]!r}")
    return int(text)


def parse_pax_time(text: bytes) -> int:
    """Seconds with a fraction of any length, to nanoseconds (rounded down, as GNU tar does)."""
    match = _PAX_TIME.fullmatch(text)
    if not match:
        raise damaged(f"malformed pax time {text[:40]!r}")
    sign, seconds, fraction = match.groups(b"")
    nanoseconds = int(seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    if not sign:
        return nanoseconds
    return -nanoseconds - (1 if fraction[9:].strip(b"0") else 0)


def format_pax_time(time_ns: int) -> bytes:
    """The shortest text that :func:`parse_pax_time` reads as the same time."""
    sign, (seconds, fraction) = b"-" if time_ns < 0 else b"", divmod(abs(time_ns), 1_000_000_000)
    text = b"%s%d.%09d" % (sign, seconds, fraction)
    return text.rstrip(b"0").rstrip(b".")
