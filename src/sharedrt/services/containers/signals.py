"""Signal names and numbers as clients write them."""

import re
import signal

from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.go_numbers import parse_digits

_REALTIME_NAME = re.compile(r"(RTMIN|RTMAX)([+-]?[0-9]{1,2})?")
_REALTIME = {"RTMIN": int(signal.SIGRTMIN), "RTMAX": int(signal.SIGRTMAX)}


def parse_signal(text: str) -> int:
    """``SIGTERM``, ``term``, ``15``, ``RTMIN+3``: the number.

    Raises:
        InvalidArgument: no signal of Linux.
    """
    name = text.strip().upper()
    if name.isdecimal():
        if number := parse_digits(name, signal.SIGRTMAX):
            return number
        raise InvalidArgument("signal", text, "not between 1 and 64")
    name = name.removeprefix("SIG")
    if found := _REALTIME_NAME.fullmatch(name):
        number = _REALTIME[found[1]] + int(found[2] or 0)
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise InvalidArgument("signal", text, "unknown signal") from None
