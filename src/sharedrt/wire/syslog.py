"""syslog messages, as dockerd's log driver writes them.

Sources: RFC 3164 section 4.1, RFC 5424 section 6; the form without a host's name is what ``/dev/log`` takes.
"""

import time
from datetime import UTC, datetime
from typing import Final

INFO: Final = 6
ERROR: Final = 3

_MONTHS_TEXT: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
_MONTHS: Final = _MONTHS_TEXT.split()


def syslog_message(
    form: str,
    *,
    facility: int,
    severity: int,
    time_ns: int,
    hostname: str,
    tag: str,
    pid: int,
    text: bytes,
) -> bytes:
    """One message with its newline. ``form``: empty, ``rfc3164``, ``rfc5424`` or ``rfc5424micro``."""
    priority = facility * 8 + severity
    match form:
        case "rfc5424" | "rfc5424micro":
            stamp = _rfc3339(time_ns, micro=form == "rfc5424micro")
            head = f"<{priority}>1 {stamp} {hostname} {tag} {pid} {tag} - "
        case "rfc3164":
            head = f"<{priority}>{_stamp(time_ns)} {hostname} {tag}[{pid}]: "
        case _:
            head = f"<{priority}>{_stamp(time_ns)} {tag}[{pid}]: "
    return head.encode("utf-8", "surrogateescape") + text + b"\n"


def _stamp(time_ns: int) -> str:
    """``Nov  7 02:03:04``, in local time as syslog has it."""
    at = time.localtime(time_ns // 1_000_000_000)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {clock}"


def _rfc3339(time_ns: int, *, micro: bool) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest // 1000:06}Z" if micro else f"{text}Z"
