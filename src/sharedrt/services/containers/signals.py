"""Signal names and numbers as clients write them."""

import re
import signal
from typing import Final

from sharedrt.model.faults import InvalidArgument

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_OFFSET: Final = re.compile(r"[+-]?[0-9]{1,9}")
_REALTIME = {"RTMIN": int(signal.SIGRTMIN), "RTMAX": int(signal.SIGRTMAX)}


def parse_signal(text: str) -> int:
    """``SIGTERM``, ``term``, ``15``, ``RTMIN+3``: the number.

    Raises:
        InvalidArgument: no signal of Linux.
    """
    name = text.strip().upper()
    if _NUMBER.fullmatch(name):
        number = int(name)
        if 1 <= number <= signal.SIGRTMAX:
            return number
        raise InvalidArgument("signal", text, "not between 1 and 64")
    name = name.removeprefix("SIG")
    for base, first in _REALTIME.items():
        offset = name.removeprefix(base)
        if name.startswith(base) and (not offset or _OFFSET.fullmatch(offset)):
            number = first + int(offset or 0)
            if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
                return number
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise InvalidArgument("signal", text, "unknown signal") from None
