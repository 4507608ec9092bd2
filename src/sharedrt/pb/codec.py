"""What generated messages need on the wire: a codec for grpclib, presence, and times.

The Rust codec is a requirement and not an option: betterproto's own encoder drops map entries
whose key and value are both empty and misreads negative enum values, and is ten times slower.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import betterproto
import betterproto_rust_codec  # noqa: F401  fails at import, rather than fall back in silence
from grpclib import GRPCError, Status
from grpclib.encoding.base import CodecBase

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

M = TypeVar("M", bound=betterproto.Message)


class Encoded:
    """A message that is encoded already; a handler returns it in place of the message.

    Fields of a repeated message are joined by putting their encodings one after another, so a
    list of records that keep their bytes costs no encoding.
    """

    __slots__ = ("data", "message_type")

    def __init__(self, message_type: type[betterproto.Message], data: bytes) -> None:
        self.message_type = message_type
        self.data = data


class Codec(CodecBase):
    """grpclib's codec for betterproto messages and for `Encoded` ones.

    grpclib's own answers UNKNOWN to a request that cannot be decoded, as to any bug of ours.
    Here the client hears that its request is at fault, with the status that gRPC's Go library
    uses (INTERNAL).
    """

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        """Raises TypeError when the message is not of the type that the method declares."""
        if isinstance(message, Encoded):
            if message.message_type is not message_type:
                raise TypeError(f"expected {message_type!r}, got encoded {message.message_type!r}")
            return message.data
        if not isinstance(message, message_type):
            raise TypeError(f"expected {message_type!r}, got {type(message)!r}")
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Raises GRPCError(INTERNAL) when the bytes are not such a message."""
        try:
            return message_type.FromString(data)
        except (RuntimeError, ValueError) as error:  # the Rust codec's and UTF-8's complaints
            name = message_type.__name__
            raise GRPCError(Status.INTERNAL, f"cannot decode {name}: {error}") from error


def present(message: M) -> M:
    """The same message, sent even if all of its fields are at their defaults."""
    message._serialized_on_wire = True
    return message


def is_present(message: betterproto.Message | None) -> bool:
    """Whether the message was on the wire, or would be sent."""
    return message is not None and betterproto.serialized_on_wire(message)


def from_unix_ns(unix_ns: int) -> datetime:
    """Datetime of a Timestamp field, from nanoseconds since the epoch, rounded down to 1 µs."""
    return _EPOCH + timedelta(microseconds=unix_ns // 1000)


def to_unix_ns(moment: datetime) -> int:
    """Nanoseconds since the epoch of a Timestamp field; exact, without a detour over floats."""
    return (moment - _EPOCH) // _MICROSECOND * 1000
