"""Signal names and numbers as clients write them."""

import signal

from sharedrt.model.faults import InvalidArgument

_REALTIME = {"RTMIN": int(signal.SIGRTMIN), "RTMAX": int(signal.SIGRTMAX)}


def parse_signal(text: str) -> int:
    """``SIGTERM``, ``term``, ``15``, ``RTMIN+3``: the number.

    Raises:
        InvalidArgument: no signal of Linux.
    """
    name = text.strip().upper()
    if name.isdecimal():
        number = int(name)
        if 1 <= number <= signal.SIGRTMAX:
            return number
        raise InvalidArgument("signal", text, "not between 1 and 64")
    name = name.removeprefix("SIG")
    for base, first in _REALTIME.items():
        offset = name.removeprefix(base)
        if name.startswith(base) and (not offset or offset.lstrip("+-").isdecimal()):
            number = first + int(offset or 0)
            if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
                return number
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError:
        raise InvalidArgument("signal", text, "unknown signal") from None
