"""One namespace's events (``model.stores.EventLog``), numbered from 1 without gaps.

The number comes from the namespace's own row, in the transaction that adds the event: one that is
rolled back takes its number back, and so the oldest number to keep follows from the newest.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import cast

from sqlalchemy import Table, bindparam, delete, insert, select
from sqlalchemy import update as update_

from sharedrt.model.codec import compact_json
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import Namespace
from sharedrt.model.records import EventRecord
from sharedrt.store.models import EventRow, NamespaceRow
from sharedrt.store.statements import Statement

_EVENTS = cast(Table, EventRow.__table__)
_NAMESPACES = cast(Table, NamespaceRow.__table__)
_HERE = _EVENTS.c.namespace == bindparam("ns")

_NEXT = Statement(
    update_(_NAMESPACES)
    .where(_NAMESPACES.c.name == bindparam("ns"))
    .values(last_event=_NAMESPACES.c.last_event + 1)
    .returning(_NAMESPACES.c.last_event)
)
_APPEND = Statement(insert(_EVENTS))
_TRIM = Statement(delete(_EVENTS).where(_HERE, _EVENTS.c.sequence <= bindparam("last")))
_FIELDS = ("sequence", "time_ns", "kind", "action", "actor", "document")
_SINCE = Statement(
    select(*(_EVENTS.c[name] for name in _FIELDS))
    .where(_HERE, _EVENTS.c.time_ns.between(bindparam("since"), bindparam("until")))
    .order_by(_EVENTS.c.sequence.desc())
    .limit(bindparam("newest"))
)
_MAX_INTEGER = 2**63 - 1


class NamespaceEvents:
    """``keep``: how many of the newest events stay."""

    __slots__ = ("_connection", "_keep", "_namespace")

    def __init__(self, connection: sqlite3.Connection, namespace: Namespace, keep: int) -> None:
        self._connection = connection
        self._namespace = namespace
        self._keep = keep

    def append(
        self, time_ns: int, kind: str, action: str, actor: str, attributes: dict[str, str]
    ) -> EventRecord:
        numbered = _NEXT(self._connection, ns=self._namespace).fetchall()
        if not numbered:
            raise NotFound("namespace", self._namespace)
        sequence: int = numbered[0][0]
        _APPEND(
            self._connection,
            namespace=self._namespace,
            sequence=sequence,
            time_ns=time_ns,
            kind=kind,
            action=action,
            actor=actor,
            document=compact_json({**attributes}),
        )
        if sequence > self._keep:
            _TRIM(self._connection, ns=self._namespace, last=sequence - self._keep)
        return EventRecord(sequence, time_ns, kind, action, actor, dict(attributes))

    def since(self, since_ns: int, until_ns: int, limit: int) -> Sequence[EventRecord]:
        rows = _SINCE(
            self._connection,
            ns=self._namespace,
            since=max(since_ns, -_MAX_INTEGER),
            until=min(until_ns, _MAX_INTEGER),
            newest=max(limit, 0),
        ).fetchall()
        return [
            EventRecord(sequence, time_ns, kind, action, actor, json.loads(document))
            for sequence, time_ns, kind, action, actor, document in reversed(rows)
        ]
