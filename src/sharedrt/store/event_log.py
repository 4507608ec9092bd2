"""One namespace's events (``model.stores.EventLog``), numbered from 1 without gaps.

The number comes from the namespace's own row, in the transaction that adds the event: one that is
rolled back takes its number back, and so the oldest number to keep follows from the newest.
"""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Connection, Table, bindparam, delete, insert, select
from sqlalchemy import update as update_

from sharedrt.model.faults import NotFound
from sharedrt.model.ids import Namespace
from sharedrt.model.records import EventRecord
from sharedrt.store.models import EventRow, NamespaceRow

_EVENTS = cast(Table, EventRow.__table__)
_NAMESPACES = cast(Table, NamespaceRow.__table__)

_NEXT = (
    update_(_NAMESPACES)
    .where(_NAMESPACES.c.name == bindparam("ns"))
    .values(last_event=_NAMESPACES.c.last_event + 1)
    .returning(_NAMESPACES.c.last_event)
)
_APPEND = insert(_EVENTS)
_TRIM = delete(_EVENTS).where(
    _EVENTS.c.namespace == bindparam("ns"), _EVENTS.c.sequence <= bindparam("last")
)
_SINCE = (
    select(
        _EVENTS.c.sequence,
        _EVENTS.c.time_ns,
        _EVENTS.c.kind,
        _EVENTS.c.action,
        _EVENTS.c.actor,
        _EVENTS.c.document,
    )
    .where(
        _EVENTS.c.namespace == bindparam("ns"),
        _EVENTS.c.time_ns.between(bindparam("since"), bindparam("until")),
    )
    .order_by(_EVENTS.c.sequence.desc())
    .limit(bindparam("newest"))
)
_MAX_NS = 2**63 - 1


class NamespaceEvents:
    """``keep``: how many of the newest events stay."""

    def __init__(self, connection: Connection, namespace: Namespace, keep: int) -> None:
        self._connection = connection
        self._namespace = namespace
        self._keep = keep

    def append(
        self, time_ns: int, kind: str, action: str, actor: str, attributes: dict[str, str]
    ) -> EventRecord:
        sequence = self._connection.execute(_NEXT, {"ns": self._namespace}).scalar()
        if sequence is None:
            raise NotFound("namespace", self._namespace)
        row = {
            "namespace": self._namespace,
            "sequence": sequence,
            "time_ns": time_ns,
            "kind": kind,
            "action": action,
            "actor": actor,
            "document": dict(attributes),
        }
        self._connection.execute(_APPEND, row)
        if sequence > self._keep:
            self._connection.execute(_TRIM, {"ns": self._namespace, "last": sequence - self._keep})
        return EventRecord(sequence, time_ns, kind, action, actor, dict(attributes))

    def since(self, since_ns: int, until_ns: int, limit: int) -> Sequence[EventRecord]:
        bounds = {
            "ns": self._namespace,
            "since": max(since_ns, -_MAX_NS),
            "until": min(until_ns, _MAX_NS),
            "newest": max(limit, 0),
        }
        rows = self._connection.execute(_SINCE, bounds).all()
        return [EventRecord(*row) for row in reversed(rows)]
