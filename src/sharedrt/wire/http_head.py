"""The head of an HTTP/1.1 request that asks for an upgrade: bytes in, a head out (RFC 9112)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MAX_HEAD_BYTES: Final = 64 << 10
_END: Final = b"\r\n\r\n"
_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]")
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)")
"""Blanks around the value are taken off outside: here they would cost a time that grows with their square."""


class HeadError(Exception):
    """Not the head of an HTTP/1 request, or a larger one than :data:`MAX_HEAD_BYTES`."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """``fields`` by lower-case name, each with all its values in order."""

    method: str
    target: str
    fields: Mapping[str, Sequence[str]]

    def tokens(self, name: str) -> Sequence[str]:
        """The comma-separated values of a field, of all its lines."""
        values = ",".join(self.fields.get(name, ()))
        return [token for part in values.split(",") if (token := part.strip())]

    def first(self, name: str) -> str:
        """The first value of a field, or nothing."""
        values = self.fields.get(name, ())
        return values[0] if values else ""


class HeadDecoder:
    """Collects bytes until the head is whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive_data(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """The head and the bytes behind it; ``None``: more is needed. Raises HeadError."""
        self._buffer += data
        end = self._buffer.find(_END)
        if max(end, 0) > MAX_HEAD_BYTES or (end < 0 and len(self._buffer) > MAX_HEAD_BYTES):
            raise HeadError("head above the limit")
        if end < 0:
            return None
        rest = bytes(self._buffer[end + len(_END) :])
        return _parse(bytes(self._buffer[:end])), rest


def _parse(data: bytes) -> RequestHead:
    lines = data.decode("latin-1").split("\r\n")
    request = _REQUEST_LINE.fullmatch(lines[0])
    if request is None:
        raise HeadError("malformed request line")
    fields: dict[str, list[str]] = {}
    for line in lines[1:]:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise HeadError("malformed header field")
        fields.setdefault(match[1].lower(), []).append(match[2].strip(" \t"))
    return RequestHead(request[1], request[2], fields)


def response_head(status: str, fields: Mapping[str, str]) -> bytes:
    """An answer's head; ``status`` like ``101 Switching Protocols``."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
