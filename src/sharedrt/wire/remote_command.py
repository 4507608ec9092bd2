"""What exec and attach say on Kubernetes' streams: channel numbers, terminal sizes, the final status.

The same words go over SPDY streams and WebSocket channels. Versions of the protocol: ``v4.channel.k8s.io`` brought
the status as JSON (before it, plain text and only for failures), ``v3`` terminal sizes, ``v5`` the close signal,
which only WebSocket needs.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Channel(IntEnum):
    """Numbers of WebSocket channels; SPDY streams carry the name as header ``streamtype``."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4


CLOSE_SIGNAL: Final = 255
"""v5: a message of this byte and a channel's number closes that channel."""
STREAM_TYPE: Final = "streamtype"

V4: Final = "v4.channel.k8s.io"
V5: Final = "v5.channel.k8s.io"
SPDY_PROTOCOLS: Final = (V4, "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
WEBSOCKET_PROTOCOLS: Final = (V5, V4, "channel.k8s.io", "")
BASE64_PROTOCOLS: Final = ("v4.base64.channel.k8s.io", "base64.channel.k8s.io")
MAX_RESIZE_BYTES: Final = 4096


def success(protocol: str) -> bytes:
    """What the error stream says when the process ended with code 0."""
    if not _has_json_status(protocol):
        return b""
    return _json({"metadata": {}, "status": "Success"})


def exit_failure(code: int, protocol: str) -> bytes:
    """The same for another exit code."""
    message = f"command terminated with non-zero exit code: exit status {code}"
    if not _has_json_status(protocol):
        return message.encode()
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return _json(
        {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "NonZeroExitCode",
            "details": {"causes": causes},
        }
    )


def internal_failure(message: str, protocol: str) -> bytes:
    """The process could not be started, or its streams broke."""
    if not _has_json_status(protocol):
        return message.encode()
    return _json(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"Internal error occurred: {message}",
            "reason": "InternalError",
            "details": {"causes": [{"message": message}]},
            "code": 500,
        }
    )


def _has_json_status(protocol: str) -> bool:
    return protocol in (V4, V5, "v4.base64.channel.k8s.io")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """In characters."""

    width: int
    height: int


class ResizeDecoder:
    """A stream of JSON objects ``{"Width": 80, "Height": 24}``, with or without whitespace between."""

    def __init__(self) -> None:
        self._buffer = ""
        self._decoder = json.JSONDecoder()

    def receive_data(self, data: bytes) -> Iterator[TerminalSize]:
        """Raises ValueError: not such a stream."""
        self._buffer = (self._buffer + data.decode()).lstrip()
        while self._buffer:
            try:
                value, end = self._decoder.raw_decode(self._buffer)
            except ValueError:
                if len(self._buffer) > MAX_RESIZE_BYTES or not self._buffer.startswith("{"):
                    raise
                return  # cut; the rest comes
            self._buffer = self._buffer[end:].lstrip()
            yield _size(value)


def _size(value: object) -> TerminalSize:
    if not isinstance(value, dict):
        raise ValueError("terminal size is no JSON object")
    width, height = value.get("Width", 0), value.get("Height", 0)
    if type(width) is not int or type(height) is not int:
        raise ValueError("terminal size is no pair of numbers")
    if not (0 <= width < 1 << 16 and 0 <= height < 1 << 16):
        raise ValueError("terminal size is out of range")
    return TerminalSize(width, height)
