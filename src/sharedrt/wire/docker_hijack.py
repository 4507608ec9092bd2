"""Keeps an HTTP parser away from the bytes that follow a request to hijack a connection.

``attach`` and ``exec start`` turn an HTTP connection into a raw stream (Engine API, "Hijacking"), with
or without an ``Upgrade: tcp`` header, and a client may send its first raw bytes right behind the request. An
HTTP parser would take them for the next request, so the splitter lets it see such a request to
its last byte and holds back what follows.

    client bytes -> HijackSplitter -> bytes for the HTTP parser
                                   -> held bytes, for the stream, or for the parser after a refusal
"""

import re
from enum import Enum, auto
from typing import Final

_ROUTE = re.compile(
    rb"POST /(?:v\d+\.\d+/)?(?:containers/[^/? ]+/attach|exec/[^/? ]+/start)[? ]", re.DOTALL
)
_METHOD: Final = b"POST /"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_END_OF_CHUNKS: Final = b"0\r\n\r\n"
MAX_HEAD_BYTES: Final = 64 << 10
MAX_BODY_BYTES: Final = 1 << 20


class _State(Enum):
    IDLE = auto()
    """Between requests: the next bytes begin one."""
    PASSING = auto()
    """Inside a request of another kind: everything is the parser's."""
    COLLECTING = auto()
    """Inside the head or body of what may be a hijacking request."""
    HOLDING = auto()
    """A hijacking request has been passed on whole; what follows is held."""


class HijackSplitter:
    """One connection's bytes; no sockets, no loop."""

    def __init__(self) -> None:
        self._state = _State.IDLE
        self._buffer = bytearray()

    @property
    def holding(self) -> bool:
        """A hijacking request is with the HTTP parser, and its answer decides what becomes of the rest."""
        return self._state is _State.HOLDING

    @property
    def held_bytes(self) -> int:
        return len(self._buffer) if self.holding else 0

    def receive_data(self, data: bytes) -> bytes:
        """The bytes that the HTTP parser may see now."""
        if self._state is _State.PASSING:
            return data
        self._buffer += data
        if self._state is _State.HOLDING:
            return b""
        return self._decide()

    def request_done(self) -> bytes:
        """The answer to the request under way was HTTP: bytes held back go to the parser after all."""
        self._state = _State.IDLE
        return self._decide()

    def take_held(self) -> bytes:
        """The connection has been hijacked: the first bytes of its stream."""
        held = bytes(self._buffer)
        self._buffer.clear()
        return held

    def _decide(self) -> bytes:
        if not self._buffer:
            self._state = _State.IDLE
            return b""
        self._state = _State.COLLECTING
        request = self._hijacking_request_length()
        if request is None:
            return b""
        if request == 0:
            self._state = _State.PASSING
            return self.take_held()
        self._state = _State.HOLDING
        passed = bytes(self._buffer[:request])
        del self._buffer[:request]
        return passed

    def _hijacking_request_length(self) -> int | None:
        """Length of the whole request in bytes; 0: it is of another kind; ``None``: not to be told yet."""
        buffer = self._buffer
        end_of_line = buffer.find(b"\r\n")
        if end_of_line < 0:
            undecided = buffer[: len(_METHOD)] == _METHOD[: len(buffer)]
            return None if undecided and len(buffer) < MAX_HEAD_BYTES else 0
        if not _ROUTE.match(buffer):
            return 0
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return None if len(buffer) < MAX_HEAD_BYTES else 0
        head += 4
        if length := _LENGTH.search(buffer, 0, head):
            end = head + int(length[1])
            if end > head + MAX_BODY_BYTES:
                return 0
            return end if len(buffer) >= end else None
        if _CHUNKED.search(buffer, 0, head):
            return self._end_of_chunks(head)
        return head

    def _end_of_chunks(self, head: int) -> int | None:
        """Just past the last chunk (the small JSON bodies of these requests hold no bare CRLF)."""
        found = self._buffer.find(_END_OF_CHUNKS, head)
        if found < 0:
            return None if len(self._buffer) < head + MAX_BODY_BYTES else 0
        return found + len(_END_OF_CHUNKS)
