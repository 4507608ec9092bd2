"""Bounds on messages, both ways, which grpclib lacks: it would buffer whatever length a client announces."""

from typing import Any, Final

from grpclib import GRPCError, Status
from grpclib.server import Stream

from sharedrt.pb.codec import Codec

MAX_MESSAGE_BYTES: Final = 16 << 20
"""What the kubelet's and containerd's own clients accept."""
_PREFIX_BYTES: Final = 5
"""gRPC's Length-Prefixed-Message: compressed flag (u8), length (u32 big endian)."""


class BoundedCodec(Codec):
    """Refuses to send what the client would refuse to read."""

    def encode(self, message: Any, message_type: Any) -> bytes:
        data = super().encode(message, message_type)
        if len(data) > MAX_MESSAGE_BYTES:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED,
                f"answer of {len(data)} bytes is above the limit of {MAX_MESSAGE_BYTES}",
            )
        return data


def bound_receiving(stream: Stream[Any, Any]) -> None:
    """Make this call refuse a message above the limit, or a compressed one, by its prefix alone.

    grpclib reads prefix and body with ``recv_data`` of the HTTP/2 stream, in turns.
    """
    h2_stream = stream._stream
    receive = h2_stream.recv_data
    prefix_is_next = True

    async def recv_data(size: int) -> bytes:
        nonlocal prefix_is_next
        try:
            data = await receive(size)
        except AssertionError as error:
            raise GRPCError(Status.INTERNAL, "the request was cut short") from error
        if prefix_is_next and data:
            _check_prefix(data)
        prefix_is_next = not prefix_is_next
        return data

    h2_stream.recv_data = recv_data  # type: ignore[method-assign]


def _check_prefix(prefix: bytes) -> None:
    if prefix[0]:
        raise GRPCError(Status.UNIMPLEMENTED, "compressed messages are not supported")
    length = int.from_bytes(prefix[1:_PREFIX_BYTES], "big")
    if length > MAX_MESSAGE_BYTES:
        raise GRPCError(
            Status.RESOURCE_EXHAUSTED,
            f"message of {length} bytes is above the limit of {MAX_MESSAGE_BYTES}",
        )
