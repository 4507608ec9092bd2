"""Lists as streams: the whole list once, in messages small enough for any number of items."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import betterproto

from sharedrt.pb.codec import Encoded

CHUNK_BYTES: Final = 1 << 20
CHUNK_ITEMS: Final = 100
T = TypeVar("T")


def encoded_chunks(
    message_type: type[betterproto.Message], items: Iterable[bytes]
) -> Iterator[Encoded]:
    """Messages of at most about 1 MiB, from elements that are encoded with tag and length."""
    parts: list[bytes] = []
    size = 0
    for item in items:
        if parts and size + len(item) > CHUNK_BYTES:
            yield Encoded(message_type, b"".join(parts))
            parts, size = [], 0
        parts.append(item)
        size += len(item)
    if parts:
        yield Encoded(message_type, b"".join(parts))


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Groups of at most 100."""
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) == CHUNK_ITEMS:
            yield group
            group = []
    if group:
        yield group
