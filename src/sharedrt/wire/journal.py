"""Entries of systemd's journal, in its native protocol: one datagram each.

Source: systemd, "Native Journal Protocol". A value with a newline goes with its length in front.
"""

import re
from collections.abc import Mapping
from typing import Final

_NAME: Final = re.compile(r"[^A-Z0-9_]")


def journal_entry(fields: Mapping[str, str | bytes]) -> bytes:
    """The datagram. Names must be such as :func:`field_name` gives."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        if b"\n" in data:
            parts.append(b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data))
        else:
            parts.append(b"%b=%b\n" % (name.encode(), data))
    return b"".join(parts)


def field_name(text: str) -> str:
    """A label's or variable's name as a field's; empty when nothing of it is left."""
    return _NAME.sub("_", text.upper()).lstrip("_")
