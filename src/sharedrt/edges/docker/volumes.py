"""``/volumes``."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer, no_content
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_request, not_implemented
from sharedrt.model.drivers import Usage
from sharedrt.model.faults import InUse, InvalidArgument, NotFound
from sharedrt.model.records import VolumeRecord
from sharedrt.services.volumes import DRIVER, NewVolume
from sharedrt.wire.docker_filters import FilterError
from sharedrt.wire.docker_time import format_time

_SIZES_AT_ONCE: Final = 4


async def get_volumes(call: Call) -> web.StreamResponse:
    filters = call.filters("dangling", "driver", "label", "name")
    try:
        dangling = filters.boolean("dangling")
    except FilterError as error:
        raise bad_request(str(error)) from error
    volumes = call.runtime.volumes
    listed = [
        render_volume(call, record)
        for record in volumes.list()
        if filters.matches("name", record.name)
        and filters.exact("driver", record.driver)
        and filters.labels(record.labels)
        and (dangling is None or dangling != bool(volumes.users(record.name)))
    ]
    return answer({"Volumes": listed, "Warnings": None})


async def get_volume(call: Call) -> web.StreamResponse:
    return answer(render_volume(call, _find(call)))


async def post_volumes_create(call: Call) -> web.StreamResponse:
    body = await call.body()
    volume = translate_volume(body.text("Name"), body)
    record = await call.finish(_create(call, volume))
    return answer(render_volume(call, record), status=201)


def translate_volume(name: str, body: Fields) -> NewVolume:
    """From a VolumeCreateOptions. Raises Refusal for a cluster's volume."""
    if "ClusterVolumeSpec" in body:
        raise not_implemented("a cluster volume")
    return NewVolume(
        name=name,
        driver=body.text("Driver") or DRIVER,
        options=body.mapping("DriverOpts"),
        labels=body.mapping("Labels"),
    )


async def _create(call: Call, volume: NewVolume) -> VolumeRecord:
    try:
        return await call.runtime.volumes.create(volume)
    except InvalidArgument as fault:
        raise bad_request(f"create {volume.name}: {fault.reason}") from fault
    except NotFound as fault:
        message = f'create {volume.name}: error looking up volume plugin {fault.name}: plugin "{fault.name}" not found'
        raise Refusal(404, message) from fault


async def delete_volume(call: Call) -> web.StreamResponse:
    name = call.params["name"]
    try:
        _find(call)
        await call.finish(call.runtime.volumes.remove(name))
    except (NotFound, Refusal):
        # Forced removal of what is not there is success.
        if not call.flag("force"):
            raise
    except InUse as fault:
        users = ", ".join(fault.users)
        raise Refusal(409, f"remove {name}: volume is in use - [{users}]") from fault
    return no_content()


async def post_volumes_prune(call: Call) -> web.StreamResponse:
    filters = call.filters("label", "label!", "all")
    try:
        everything = filters.boolean("all") or versions.prunes_named_volumes(call.version)
    except FilterError as error:
        raise bad_request(str(error)) from error

    def wanted(record: VolumeRecord) -> bool:
        return (
            (everything or record.anonymous)
            and filters.labels(record.labels)
            and filters.without_labels(record.labels)
        )

    removed, size = await call.finish(call.runtime.volumes.prune(wanted))
    return answer({"VolumesDeleted": list(removed), "SpaceReclaimed": size})


def _find(call: Call) -> VolumeRecord:
    name = call.params["name"]
    try:
        return call.runtime.volumes.get(name)
    except NotFound as fault:
        raise Refusal(404, f"get {name}: no such volume") from fault


def render_volume(call: Call, record: VolumeRecord) -> dict[str, Any]:
    """A Volume, without its usage."""
    return {
        "CreatedAt": format_time(record.created_ns),
        "Driver": record.driver,
        "Labels": dict(record.labels) or None,
        "Mountpoint": str(call.runtime.volumes.mountpoint(record.name)),
        "Name": record.name,
        "Options": dict(record.options) or None,
        "Scope": "local",
    }


async def volumes_with_usage(call: Call) -> list[dict[str, Any]]:
    """All volumes with ``UsageData``, for ``/system/df``."""
    volumes = call.runtime.volumes
    bound = asyncio.Semaphore(_SIZES_AT_ONCE)

    async def usage(record: VolumeRecord) -> Usage | None:
        async with bound:
            try:
                return await volumes.usage(record.name)
            except NotFound:
                return None  # removed meanwhile

    records: Sequence[VolumeRecord] = volumes.list()
    usages = await asyncio.gather(*(usage(record) for record in records))
    return [
        render_volume(call, record)
        | {"UsageData": {"RefCount": len(volumes.users(record.name)), "Size": found.content_bytes}}
        for record, found in zip(records, usages, strict=True)
        if found is not None
    ]


ROUTES = (
    Route("GET", "/volumes", get_volumes),
    Route("POST", "/volumes/create", post_volumes_create),
    Route("POST", "/volumes/prune", post_volumes_prune),
    Route("GET", "/volumes/{name}", get_volume),
    Route("DELETE", "/volumes/{name}", delete_volume),
)
