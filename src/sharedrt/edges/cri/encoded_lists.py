"""Lists served from bytes: a record keeps its encoded form until it changes, and a List joins them.

Protobuf puts the elements of a repeated message one after another, each behind its field's tag and its
length, so a list's encoding is its elements' joined. Records are immutable and replaced whole, so a record
object's identity stands for its content.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar

import betterproto

from sharedrt.pb.codec import Encoded

_LENGTH_DELIMITED: Final = 2


class _Record(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=_Record)


class EncodedItems(Generic[R]):
    """The elements of one repeated field, by record.

    Args:
        field: the number of the repeated field; the tag must fit one byte, so below 16.
        render: the element for a record, a function of that record alone.
    """

    def __init__(self, field: int, render: Callable[[R], betterproto.Message]) -> None:
        self._tag = bytes([field << 3 | _LENGTH_DELIMITED])
        self._render = render
        self._items: dict[str, tuple[R, bytes]] = {}

    def join(self, message_type: type[betterproto.Message], records: Iterable[R]) -> Encoded:
        """The whole answer, for a message that has no other field."""
        return Encoded(message_type, b"".join(self.encode(record) for record in records))

    def encode(self, record: R) -> bytes:
        """One element with its tag and length."""
        kept = self._items.get(record.id)
        if kept is not None and kept[0] is record:
            return kept[1]
        body = bytes(self._render(record))
        data = self._tag + bytes(_varint(len(body))) + body
        self._items[record.id] = (record, data)
        return data

    def retain(self, records: Iterable[R]) -> None:
        """Forget all other records; called with a full listing, so that what is removed is let go."""
        live = {record.id for record in records}
        if len(self._items) > len(live):
            self._items = {id: kept for id, kept in self._items.items() if id in live}


def _varint(value: int) -> Iterator[int]:
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value
