"""``GET /events``: what was, and what happens, as lines of JSON."""

from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, dump
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.times import moment
from sharedrt.edges.docker.words import bad_request
from sharedrt.model.records import EventRecord
from sharedrt.services.images import as_docker_tells
from sharedrt.wire.docker_filters import Filters

_FILTERS_TEXT = (
    "config container daemon event image label network node plugin scope secret service type volume"
)
_FILTERS: Final = tuple(_FILTERS_TEXT.split())
_KINDS: Final = frozenset(
    [
        "builder",
        "config",
        "container",
        "daemon",
        "image",
        "network",
        "node",
        "plugin",
        "secret",
        "service",
        "volume",
    ]
)
"""Docker's kinds; events of others (sandboxes, content) are not told here."""


async def get_events(call: Call) -> web.StreamResponse:
    filters = call.filters(*_FILTERS)
    since, until = moment(call.text("since"), "since"), moment(call.text("until"), "until")
    if since is not None and until is not None and until < since:
        raise bad_request(
            f"`since` time ({call.text('since')}) cannot be after `until` time ({call.text('until')})"
        )
    events = call.runtime.events.subscribe(since_ns=since, until_ns=until)
    call.door.event_listeners += 1
    try:
        async with events as stream, call.stream("application/json") as response:
            async for record in stream:
                told = record.kind in _KINDS and versions.tells_event(call.version, record)
                if told and passes(filters, record):
                    message = versions.event(call.version, render_event(record))
                    await response.write(dump(message) + b"\n")
            return response
    finally:
        call.door.event_listeners -= 1


def render_event(record: EventRecord) -> dict[str, Any]:
    """One EventMessage."""
    return {
        "Type": record.kind,
        "Action": record.action,
        "Actor": {"ID": record.actor, "Attributes": as_docker_tells(record)},
        "scope": "local",
        "time": record.time_ns // 1_000_000_000,
        "timeNano": record.time_ns,
    }


def passes(filters: Filters, record: EventRecord) -> bool:
    """Whether an event is among those asked for. ``exec_start`` finds ``exec_start: sh`` too."""
    action = record.action
    return (
        (filters.exact("event", action) or filters.exact("event", action.partition(":")[0]))
        and filters.exact("type", record.kind)
        and filters.exact("scope", "local")
        and filters.labels(record.attributes)
        and all(
            _concerns(filters, record, kind)
            for kind in ("container", "volume", "network", "daemon", "plugin")
        )
        and _concerns_image(filters, record)
        and not any(filters.get(kind) for kind in ("config", "node", "secret", "service"))
    )


def _concerns(filters: Filters, record: EventRecord, kind: str) -> bool:
    """By the beginning of its id or name, as at dockerd."""
    wanted = filters.get(kind)
    if not wanted:
        return True
    if record.kind != kind:
        return False
    prefixes = tuple(text.removeprefix("/") for text in wanted)
    return record.actor.startswith(prefixes) or record.attributes.get("name", "").startswith(
        prefixes
    )


def _concerns_image(filters: Filters, record: EventRecord) -> bool:
    """``image=busybox`` finds the image's own events and those of its containers, with or without tag."""
    wanted = filters.get("image")
    if not wanted:
        return True
    if record.kind == "image":
        known = {record.actor, record.attributes.get("name", "")}
    elif record.kind == "container":
        known = {record.attributes.get("image", "")}
    else:
        return False
    known |= {_without_tag(name) for name in known}
    return bool(known & wanted)


def _without_tag(name: str) -> str:
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition("@")[0].partition(":")[0]


ROUTES = (Route("GET", "/events", get_events),)
