"""What conmon says and hears: its sync pipe, attach socket, control fifo and exit file.

Written from the behaviour of conmon 2.1 (``conmon(8)``; ``src/parent_pipe_fd.c``, ``conn_sock.c``, ``ctrl.c`` there).

* sync pipe: one JSON object a line, ``{"data": N}`` or ``{"data": N, "message": "..."}``. The first is the
  process's pid, or -1 and why there is none; an exec's second one is the exit code.
* attach socket: SEQPACKET, so packet borders are kept. Out of conmon: one byte that names the stream,
  then at most 8 KiB. Into conmon: bytes for stdin, nothing else.
* control fifo: ``1 HEIGHT WIDTH`` resizes the terminal, ``2 0 0`` reopens the log file.
* exit file: the exit code in decimal, written by rename.
"""

import json
from dataclasses import dataclass
from typing import Final

from sharedrt.model.stdio import StdStream

MAX_OUTPUT_PACKET: Final = 8192 + 1
"""Longest packet out of conmon, with its stream byte."""

MAX_INPUT_PACKET: Final = 8192
"""Longest packet we send; conmon reads into 32 KiB, and a longer packet's rest would be lost."""

MAX_TERMINAL_SIDE: Final = 1000
"""conmon since 2.2.0 refuses a larger width or height."""

_CONTROL_READ_SIZE: Final = 199
_MAX_SYNC_LINE: Final = 64 << 10
_STREAMS: Final = {2: StdStream.STDOUT, 3: StdStream.STDERR}


class ConmonProtocolError(Exception):
    """conmon sent what it never should."""


@dataclass(frozen=True, slots=True)
class SyncMessage:
    """One line of the sync pipe: a pid, an exit code or, when negative, a failure with its ``message``."""

    data: int
    message: str = ""


class SyncDecoder:
    """The sync pipe: bytes in, messages out."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive_data(self, data: bytes) -> list[SyncMessage]:
        """Take bytes as they come.

        Raises:
            ConmonProtocolError: not JSON, not the right shape, or a line beyond 64 KiB.
        """
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _MAX_SYNC_LINE:
            raise ConmonProtocolError("line on the sync pipe is too long")
        return [_parse_sync_line(line) for line in lines if line.strip()]

    def receive_eof(self) -> None:
        """Raises ConmonProtocolError if a line was cut short."""
        if self._buffer.strip():
            raise ConmonProtocolError("line on the sync pipe was cut short")


def _parse_sync_line(line: bytes) -> SyncMessage:
    try:
        # conmon passes a runtime's words on as they are: control characters, and any encoding
        value = json.loads(line.decode("utf-8", "replace"), strict=False)
    except ValueError as e:
        raise ConmonProtocolError(f"not JSON on the sync pipe: {line[:200]!r}") from e
    match value:
        case {"data": int(data), **rest} if not isinstance(data, bool):
            message = rest.get("message", "")
            if isinstance(message, str):
                return SyncMessage(data, message)
    raise ConmonProtocolError(f"unexpected message on the sync pipe: {line[:200]!r}")


def decode_output(packet: bytes) -> tuple[StdStream, bytes]:
    """One packet of the attach socket.

    Raises:
        ConmonProtocolError: empty, too long, or for a stream that is none.
    """
    if not packet or len(packet) > MAX_OUTPUT_PACKET:
        raise ConmonProtocolError(f"attach packet of {len(packet)} bytes")
    stream = _STREAMS.get(packet[0])
    if stream is None:
        raise ConmonProtocolError(f"attach packet for stream {packet[0]}")
    return stream, packet[1:]


def split_input(data: bytes) -> list[bytes]:
    """Bytes for stdin, cut into packets that conmon takes whole."""
    return [data[i : i + MAX_INPUT_PACKET] for i in range(0, len(data), MAX_INPUT_PACKET)]


def resize_line(width: int, height: int) -> bytes:
    """The control line that sets the terminal's size, in characters (each side at most 1000)."""
    w, h = (max(0, min(side, MAX_TERMINAL_SIDE)) for side in (width, height))
    return _control_line(1, h, w)


def reopen_log_line() -> bytes:
    """The control line that makes conmon open its log file anew."""
    return _control_line(2, 0, 0)


def _control_line(kind: int, first: int, second: int) -> bytes:
    # conmon before 2.2.0 handles only the first line of what one read() brought, as often as there are lines.
    # Padded to the size of its read, each line comes alone; sscanf skips the blanks.
    return f"{kind} {first} {second}".ljust(_CONTROL_READ_SIZE - 1).encode() + b"\n"


def parse_exit_file(content: bytes) -> int:
    """The exit code; 128 + n for a process killed by signal n.

    Raises:
        ConmonProtocolError: not a number.
    """
    try:
        return int(content.decode("ascii"))
    except ValueError as e:
        raise ConmonProtocolError(f"exit file says {content[:40]!r}") from e
