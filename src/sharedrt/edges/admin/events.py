"""The events of all namespaces, or of one, as lines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from sharedrt.edges.admin.requests import RUNTIME, number_query
from sharedrt.edges.admin.streams import lines
from sharedrt.edges.admin.views import event_view
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import Namespace, parse_namespace
from sharedrt.model.records import EventRecord
from sharedrt.services.contracts import Runtime


async def get_events(request: web.Request) -> web.StreamResponse:
    """Live, until the client goes; with ``since_ns``, which needs a namespace, the stored ones first."""
    namespace = request.query.get("namespace", "")
    since_ns = number_query(request, "since_ns")
    if since_ns and not namespace:
        raise InvalidArgument("since_ns", since_ns, "needs a namespace")
    async with (
        _subscription(request.app[RUNTIME], namespace, since_ns) as events,
        lines(request) as (response, sink),
    ):
        async for owner, record in events:
            await sink.send(event_view(owner, record))
    return response


@asynccontextmanager
async def _subscription(
    runtime: Runtime, name: str, since_ns: int
) -> AsyncIterator[AsyncIterator[tuple[Namespace, EventRecord]]]:
    if not name:
        async with runtime.all_namespaces.subscribe() as events:
            yield events
        return
    namespace = parse_namespace(name)
    async with runtime.within(namespace).events.subscribe(since_ns=since_ns or None) as records:
        yield _owned(namespace, records)


async def _owned(
    namespace: Namespace, records: AsyncIterator[EventRecord]
) -> AsyncIterator[tuple[Namespace, EventRecord]]:
    async for record in records:
        yield namespace, record
