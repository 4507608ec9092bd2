"""EXPOSE's words to the ports that they mean: ``80``, ``80-90/udp``.

Many wide ranges in one instruction are as cheap as one: they are put together before they are written out.
"""

import re
from collections.abc import Iterable
from typing import Final

_PORT: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_PUBLISHED: Final = re.compile(r"\d{1,5}(?:-\d{1,5})?:")


class PortError(ValueError):
    """Its text is the word that is no port."""


def exposed_ports(words: Iterable[str], *, published: bool = False) -> list[str]:
    """``PORT/PROTOCOL`` each.

    Args:
        published: a word may begin with a port of the host, which means nothing.

    Raises:
        PortError.
    """
    masks: dict[str, int] = {}
    for word in words:
        bare = _PUBLISHED.sub("", word, count=1) if published else word
        found = _PORT.fullmatch(bare)
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else 0
        if found is None or not 0 < first <= last < 1 << 16:
            raise PortError(word)
        protocol = (found[3] or "tcp").lower()
        masks[protocol] = masks.get(protocol, 0) | (1 << last + 1) - (1 << first)
    return [
        f"{port}/{protocol}"
        for protocol, mask in masks.items()
        for port, bit in enumerate(reversed(bin(mask)[2:]))
        if bit == "1"
    ]
