"""CRI's enumeration of stop signals, whose numbers are no kernel's, and the names that services use."""

import re
from typing import Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.pb.runtime.v1 import Signal

_REALTIME: Final = re.compile(r"SIGRT(MIN|MAX)(?:(PLUS|MINUS)(\d+))?")


def signal_name(signal: int) -> str:
    """``SIGTERM``, ``SIGRTMIN+3``; empty for RUNTIME_DEFAULT.

    Raises:
        InvalidArgument: a number that this version of the CRI does not know.
    """
    try:
        name = str(Signal(signal).name)
    except ValueError as error:
        raise InvalidArgument("stop_signal", signal, "unknown") from error
    if name == "RUNTIME_DEFAULT":
        return ""
    if match := _REALTIME.fullmatch(name):
        base, sign, offset = match.groups()
        return f"SIGRT{base}" + (f"{'+' if sign == 'PLUS' else '-'}{offset}" if sign else "")
    return name


_BY_NAME: Final[dict[str, Signal]] = {signal_name(signal): signal for signal in Signal}


def signal_value(name: str) -> Signal:
    """The enumeration's value for a name as images and clients write it; RUNTIME_DEFAULT when it has none
    (a bare number, say)."""
    upper = name.strip().upper()
    if upper and not upper.startswith("SIG"):
        upper = f"SIG{upper}"
    return _BY_NAME.get(upper, Signal.RUNTIME_DEFAULT)
