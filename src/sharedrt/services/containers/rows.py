"""Changing containers' rows: what is read is what gets replaced, so that no change loses another."""

from collections.abc import Callable, Mapping

import structlog

from sharedrt.aio.completion import complete
from sharedrt.aio.locks import KeyedLocks
from sharedrt.model.faults import Fault
from sharedrt.model.ids import ContainerId
from sharedrt.model.records import ContainerRecord
from sharedrt.services.events import NamespacedEvents, NewEvent
from sharedrt.services.working_set import WorkingSet

log = structlog.get_logger(__name__)


class ContainerRows:
    """A container ends whenever it likes, in the middle of a rename too: so a change is a function of the
    row as it is at its turn. Disk first, then memory, then the events, and a cancellation never comes between.
    """

    def __init__(self, records: WorkingSet[ContainerRecord], events: NamespacedEvents) -> None:
        self._records, self._events = records, events
        self._locks = KeyedLocks()

    async def change(
        self,
        id: ContainerId,
        edit: Callable[[ContainerRecord], ContainerRecord],
        *actions: str,
        details: Mapping[str, str] | None = None,
        then: Callable[[ContainerRecord], None] = lambda _: None,
    ) -> ContainerRecord:
        """Replace a row, and record an event of each of ``actions``, in one transaction.

        Args:
            then: called in the moment in which the change can be seen.

        Raises:
            NotFound, and what ``edit`` raises. ResourceExhausted ...: nothing has changed then.
        """
        return await complete(self._change(id, edit, actions, details or {}, then))

    async def _change(
        self,
        id: ContainerId,
        edit: Callable[[ContainerRecord], ContainerRecord],
        actions: tuple[str, ...],
        details: Mapping[str, str],
        then: Callable[[ContainerRecord], None],
    ) -> ContainerRecord:
        async with self._locks.hold(id):
            record = edit(self._records.by_id(id))
            told = {**attributes(record), **details}

            def show() -> None:
                self._records.put(record)
                then(record)

            await self._events.commit(
                lambda tx: tx.containers.put(record),
                *(NewEvent("container", action, id, told) for action in actions),
                then=show,
            )
            return record

    async def tell(self, record: ContainerRecord, action: str, **details: str) -> None:
        """An event of something that has been done: what cannot be recorded does not make it fail."""
        try:
            await self._events.publish(
                "container", action, record.id, {**attributes(record), **details}
            )
        except Fault as fault:
            log.warning("event lost", container=record.id, action=action, error=str(fault))


def attributes(record: ContainerRecord) -> dict[str, str]:
    """What every event of a container tells: image, name, pod, and its labels."""
    known = {"image": record.image_reference, "name": record.name}
    if record.sandbox_id:
        known["sandbox"] = record.sandbox_id
    return {**record.labels, **known}
