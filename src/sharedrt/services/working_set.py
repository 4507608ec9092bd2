"""A namespace's records of one kind in memory, found by id, name or id prefix."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from sharedrt.model.faults import AlreadyExists, Ambiguous, NotFound

R = TypeVar("R")

_HEX_PREFIX: Final = re.compile(r"[0-9a-f]{1,63}")


class WorkingSet(Generic[R]):
    """Records by id, oldest first. An id of another namespace is looked for, and missed, as any other."""

    def __init__(self, kind: str, id_of: Callable[[R], str], name_of: Callable[[R], str]) -> None:
        self._kind, self._id_of, self._name_of = kind, id_of, name_of
        self._records: dict[str, R] = {}
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[R]:
        return iter(self._records.values())

    def list(self) -> Sequence[R]:
        return list(self._records.values())

    def put(self, record: R) -> R:
        """Insert or replace; a changed name frees the old one."""
        id = self._id_of(record)
        if (old := self._records.get(id)) is not None:
            self._release(self._name_of(old), id)
        self._records[id] = record
        if name := self._name_of(record):
            self._names[name] = id
        return record

    def drop(self, id: str) -> None:
        if (old := self._records.pop(id, None)) is not None:
            self._release(self._name_of(old), id)

    def reserve(self, name: str, id: str) -> None:
        """Take a name before its record is there. Raises AlreadyExists with the holder's id."""
        if name and (holder := self._names.setdefault(name, id)) != id:
            raise AlreadyExists(self._kind, name, holder)

    def release(self, name: str, id: str) -> None:
        """Give back a name that no record has come to hold."""
        record = self._records.get(id)
        if record is None or self._name_of(record) != name:
            self._release(name, id)

    def find(self, id: str) -> R | None:
        return self._records.get(id)

    def by_id(self, id: str) -> R:
        if (record := self._records.get(id)) is None:
            raise NotFound(self._kind, id)
        return record

    def get(self, ref: str) -> R:
        """By id, name, or unique prefix of an id, in this order, as Docker resolves it."""
        if (record := self._records.get(ref)) is not None:
            return record
        if (id := self._names.get(ref)) is not None and id in self._records:
            return self._records[id]
        found = []
        if _HEX_PREFIX.fullmatch(ref):
            found = [id for id in self._records if id.startswith(ref)]
        if len(found) > 1:
            raise Ambiguous(self._kind, ref)
        if not found:
            raise NotFound(self._kind, ref)
        return self._records[found[0]]

    def _release(self, name: str, id: str) -> None:
        if name and self._names.get(name) == id:
            del self._names[name]
