"""The build cache: ``POST /build/prune``, and its lines in ``GET /system/df``."""

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.times import moment
from sharedrt.edges.docker.words import bad_request, not_implemented
from sharedrt.services.builds import CacheEntry
from sharedrt.wire.docker_filters import FilterError, Filters
from sharedrt.wire.docker_time import format_time

_FILTERS: Final = (
    "label",
    "label!",
    "until",
    "unused-for",
    "id",
    "parent",
    "type",
    "description",
    "inuse",
    "shared",
    "private",
    "label",
    "label!",
)


async def build_cache(call: Call) -> list[dict[str, Any]]:
    """As ``system df`` has it."""
    return [_render(entry) for entry in await call.runtime.builds.cache.entries()]


def _render(entry: CacheEntry) -> dict[str, Any]:
    return {
        "ID": entry.id,
        "Parents": [entry.parent] if entry.parent else [],
        "Type": entry.kind,
        "Description": entry.description,
        "InUse": entry.in_use,
        "Shared": entry.shared,
        "Size": entry.size_bytes,
        "CreatedAt": format_time(entry.created_ns),
        "LastUsedAt": format_time(entry.last_used_ns),
        "UsageCount": entry.uses,
    }


async def post_build_prune(call: Call) -> web.StreamResponse:
    """Without ``all`` what images have, too, stays. What was not used for the longest time goes first."""
    if call.integer("min-free-space"):
        raise not_implemented("min-free-space of a prune")
    filters = call.filters(*_FILTERS)
    try:
        chosen = _chooser(filters, everything=call.flag("all"))
    except FilterError as error:
        raise bad_request(str(error)) from error
    keep = max(
        call.integer("keep-storage") or 0,
        call.integer("reserved-space") or 0,
        call.integer("max-used-space") or 0,
    )
    removed, gained = await call.finish(call.runtime.builds.prune(chosen, keep_bytes=keep))
    return answer({"CachesDeleted": removed, "SpaceReclaimed": gained})


def _chooser(filters: Filters, *, everything: bool) -> Callable[[CacheEntry], bool]:
    until = filters.one("until")
    if until is None:
        until = filters.one("unused-for")
    latest_ns = None if until is None else moment(until or "0", "until")
    wanted = {name: filters.boolean(name) for name in ("inuse", "shared", "private")}

    def choose(entry: CacheEntry) -> bool:
        facts = {"inuse": entry.in_use, "shared": entry.shared, "private": not entry.shared}
        return (
            (everything or not entry.shared)
            # ``system prune`` sends the labels that it was given, and the cache has none.
            and filters.labels({})
            and (latest_ns is None or entry.last_used_ns < latest_ns)
            and all(wanted[name] in (None, fact) for name, fact in facts.items())
            and filters.matches("id", entry.id)
            and filters.matches("parent", entry.parent)
            and filters.exact("type", entry.kind)
            and filters.matches("description", entry.description)
        )

    return choose


ROUTES = (Route("POST", "/build/prune", post_build_prune),)
