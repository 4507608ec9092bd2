"""``containerd.services.events.v1``: events of all namespaces, as containerd's exchange has them."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from betterproto.lib.google.protobuf import Empty

from sharedrt.aio.merge import merged
from sharedrt.edges.containerd.call import Service, calling_namespace
from sharedrt.edges.containerd.envelopes import fields_of_envelope, to_envelope
from sharedrt.edges.containerd.published import PublishedEvents
from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.model.ids import Namespace, parse_namespace
from sharedrt.model.records import EventRecord
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd.services.events import v1 as pb
from sharedrt.pb.containerd.types import Envelope
from sharedrt.services.contracts import Runtime
from sharedrt.wire.containerd_filter import parse_filters


class EventsService(Service, pb.EventsBase):
    """Our own events translated, and those that clients publish."""

    def __init__(self, runtime: Runtime, published: PublishedEvents) -> None:
        self._runtime, self._published = runtime, published

    async def publish(self, publish_request: pb.PublishRequest) -> Empty:
        namespace = calling_namespace()
        _check_topic(publish_request.topic)
        self._published.publish(
            Envelope(
                timestamp=from_unix_ns(time.time_ns()),
                namespace=namespace,
                topic=publish_request.topic,
                event=publish_request.event,
            )
        )
        return Empty()

    async def forward(self, forward_request: pb.ForwardRequest) -> Empty:
        envelope = forward_request.envelope
        parse_namespace(envelope.namespace)
        _check_topic(envelope.topic)
        self._published.publish(envelope)
        return Empty()

    async def subscribe(self, subscribe_request: pb.SubscribeRequest) -> AsyncIterator[Envelope]:
        """Live events of all namespaces, until the client goes."""
        wanted = parse_filters(subscribe_request.filters)
        with self._published.listen() as foreign:
            async with (
                self._runtime.all_namespaces.subscribe() as own,
                aclosing(merged(self._translated(own), foreign)) as envelopes,
            ):
                async for envelope in envelopes:
                    if wanted.matches(fields_of_envelope(envelope)):
                        yield envelope

    async def _translated(
        self, own: AsyncIterator[tuple[Namespace, EventRecord]]
    ) -> AsyncIterator[Envelope]:
        async for namespace, record in own:
            if (envelope := to_envelope(namespace, record, self._pid_of)) is not None:
                yield envelope

    def _pid_of(self, namespace: Namespace, id: str) -> int:
        try:
            return self._runtime.within(namespace).containers.by_id(id).pid
        except NotFound:
            return 0


def _check_topic(topic: str) -> None:
    """containerd's rule: a path of at least one name."""
    if not topic.startswith("/") or not all(topic[1:].split("/")):
        raise InvalidArgument("topic", topic, "must be names, each after a slash")
