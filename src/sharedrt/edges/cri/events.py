"""GetContainerEvents: what the kubelet's evented PLEG follows instead of listing all the time."""

import time
from collections.abc import AsyncIterator
from typing import Final

from sharedrt.edges.cri import render_sandbox
from sharedrt.edges.cri.context import RuntimePart
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import SandboxId
from sharedrt.model.records import EventRecord, SandboxRecord, SandboxSpec
from sharedrt.pb.runtime import v1 as pb

_TYPES: Final = {
    ("container", "create"): pb.ContainerEventType.CONTAINER_CREATED_EVENT,
    ("container", "start"): pb.ContainerEventType.CONTAINER_STARTED_EVENT,
    ("container", "die"): pb.ContainerEventType.CONTAINER_STOPPED_EVENT,
    ("container", "destroy"): pb.ContainerEventType.CONTAINER_DELETED_EVENT,
    ("sandbox", "create"): pb.ContainerEventType.CONTAINER_CREATED_EVENT,
    ("sandbox", "start"): pb.ContainerEventType.CONTAINER_STARTED_EVENT,
    ("sandbox", "stop"): pb.ContainerEventType.CONTAINER_STOPPED_EVENT,
    ("sandbox", "destroy"): pb.ContainerEventType.CONTAINER_DELETED_EVENT,
}


class EventCalls(RuntimePart):
    async def get_container_events(
        self, get_events_request: pb.GetEventsRequest
    ) -> AsyncIterator[pb.ContainerEventResponse]:
        """Events of pods and their containers from now on, each with the pod's status as it is when the
        event goes out, and with that time: a kubelet drops what is older than a status that it has asked for.
        A client that is too far behind is ended with RESOURCE_EXHAUSTED, and lists anew.
        """
        async with self.context.services.events.subscribe() as events:
            # Of pods that are gone when the event of their end goes out, too: the kubelet finds its pod
            # by the metadata.
            known = {record.id: record for record in self.pods.list()}
            async for event in events:
                if (response := self._response(event, known)) is not None:
                    yield response

    def _response(
        self, event: EventRecord, known: dict[SandboxId, SandboxRecord]
    ) -> pb.ContainerEventResponse | None:
        kind = _TYPES.get((event.kind, event.action))
        if kind is None:
            return None
        id = SandboxId(event.attributes.get("sandbox", event.actor))
        try:
            sandbox = known[id] = self.pods.get(id)
        except NotFound:
            if event.kind == "sandbox":
                known.setdefault(id, _as_told(event))
            if id not in known:
                return None  # a container that is no pod's
            sandbox = known[id]
        if (event.kind, event.action) == ("sandbox", "destroy"):
            known.pop(id, None)
        return pb.ContainerEventResponse(
            container_id=event.actor,
            container_event_type=kind,
            created_at=time.time_ns(),
            pod_sandbox_status=render_sandbox.status(sandbox),
            containers_statuses=[
                self.context.container_status(record)
                for record in self.pods.containers_of(sandbox.id)
            ],
        )


def _as_told(event: EventRecord) -> SandboxRecord:
    """A pod that came and went before its first event could go out."""
    told = event.attributes
    return SandboxRecord(
        id=SandboxId(event.actor),
        name=told.get("name", ""),
        uid=told.get("uid", ""),
        pod_namespace=told.get("podNamespace", ""),
        attempt=0,
        spec=SandboxSpec(),
    )
