"""``/containers``: list, inspect, and prune."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.container_filters import FILTERS, ContainerFilter
from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.image_access import image_name_for, image_size
from sharedrt.edges.docker.links import linked_names, shown_links
from sharedrt.edges.docker.network_access import network_names
from sharedrt.edges.docker.render_container import (
    add_sizes,
    now_ns,
    render_inspect,
    render_summary,
)
from sharedrt.edges.docker.render_mounts import render_mounts
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.times import until_filter
from sharedrt.model.drivers import Usage
from sharedrt.model.faults import FailedPrecondition, NotFound
from sharedrt.model.records import ContainerRecord, ContainerState

_SIZES_AT_ONCE: Final = 8


def views(call: Call) -> list[ContainerView]:
    """All containers of this door, the newest first. Members of pods are the kubelet's, not Docker's."""
    containers = call.runtime.containers
    return [
        ContainerView(record, containers.restarting(record.id))
        for record in reversed(containers.list())
        if record.sandbox_id is None
    ]


async def get_containers_json(call: Call) -> web.StreamResponse:
    filters = call.filters(*FILTERS)
    limit = call.integer("limit") or 0
    chosen = ContainerFilter(call, filters, everything=call.flag("all") or limit > 0)
    selected = [view for view in views(call) if chosen.passes(view)]
    if limit > 0:
        selected = selected[:limit]
    return answer(await summaries(call, selected, sizes=call.flag("size")))


async def summaries(
    call: Call, selected: Iterable[ContainerView], *, sizes: bool
) -> list[dict[str, Any]]:
    """ContainerSummary of each; also for ``/system/df``."""
    selected = list(selected)
    names, now = network_names(call.runtime), now_ns()
    usages = await usage_of(call, [view.record for view in selected]) if sizes else []
    others = linked_names(call.runtime.containers.list())
    rendered = []
    for index, view in enumerate(selected):
        summary = render_summary(
            view,
            call.runtime.containers.endpoints(view.record.id),
            names,
            image_name_for(call.runtime, view.record),
            mounts=render_mounts(view.record, call.runtime.volumes),
            now_ns=now,
        )
        summary["Names"] += others.get(view.record.id, [])
        if sizes:
            add_sizes(summary, usages[index], image_size(call.runtime, view.record.image_id))
        rendered.append(versions.container_summary(call.version, summary))
    return rendered


async def usage_of(call: Call, records: Sequence[ContainerRecord]) -> list[Usage]:
    """Sizes of writable layers; nothing for a container that has just been removed."""
    bound = asyncio.Semaphore(_SIZES_AT_ONCE)

    async def one(record: ContainerRecord) -> Usage:
        async with bound:
            try:
                return await call.runtime.containers.usage(record.id)
            except (NotFound, FailedPrecondition):
                return Usage(0, 0)

    return list(await asyncio.gather(*(one(record) for record in records)))


async def get_container_json(call: Call) -> web.StreamResponse:
    record = call.container()
    containers = call.runtime.containers
    execs = [e.id for e in call.runtime.execs.of_container(record.id) if e.exit_code is None]
    links = shown_links(record, containers)
    rendered = render_inspect(
        ContainerView(record, containers.restarting(record.id)),
        containers.endpoints(record.id),
        network_names(call.runtime),
        call.door.host,
        mounts=render_mounts(record, call.runtime.volumes),
        exec_ids=execs,
        etc_folder=containers.files_folder(record.id),
        layers=await containers.layers(record.id),
    )
    rendered["HostConfig"]["Links"] = links
    if call.flag("size"):
        (usage,) = await usage_of(call, [record])
        add_sizes(rendered, usage, image_size(call.runtime, record.image_id))
    return answer(versions.container_inspect(call.version, rendered))


async def post_containers_prune(call: Call) -> web.StreamResponse:
    filters = call.filters("label", "label!", "until")
    until = until_filter(filters)
    deleted, reclaimed = [], 0
    for view in views(call):
        record = view.record
        stopped = record.state is not ContainerState.RUNNING and not view.restarting
        if not stopped or (until is not None and record.created_ns >= until):
            continue
        if not filters.labels(record.labels) or not filters.without_labels(record.labels):
            continue
        (usage,) = await usage_of(call, [record])
        try:
            await call.finish(call.runtime.containers.remove(record.id))
        except (NotFound, FailedPrecondition):
            continue  # removed or started by somebody else meanwhile
        deleted.append(record.id)
        reclaimed += usage.content_bytes
    await call.runtime.events.publish("container", "prune", "", {"reclaimed": str(reclaimed)})
    return answer({"ContainersDeleted": deleted or None, "SpaceReclaimed": reclaimed})


ROUTES = (
    Route("GET", "/containers/json", get_containers_json),
    Route("GET", "/containers/{id+}/json", get_container_json),
    Route("POST", "/containers/prune", post_containers_prune),
)
