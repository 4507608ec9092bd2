"""``/images``: list, inspect, history, tag, remove, prune."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.image_access import familiar, find_image
from sharedrt.edges.docker.image_filters import LIST_FILTERS, ImageFilter
from sharedrt.edges.docker.render_image import (
    created_ns,
    render_descriptor,
    render_image_inspect,
    render_image_summary,
    render_platform,
)
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.times import until_filter
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.model.faults import InUse, InvalidArgument, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import ContainerState
from sharedrt.services.images import Image, Images, RemovedImage
from sharedrt.wire.docker_filters import FilterError
from sharedrt.wire.docker_time import parse_timestamp
from sharedrt.wire.reference import parse_name


async def get_images_json(call: Call) -> web.StreamResponse:
    filters = call.filters(*LIST_FILTERS)
    chosen = ImageFilter(call, filters)
    selected = [
        replace(image, references=chosen.matching(image))
        for image in call.runtime.images.list()
        if chosen.passes(image)
    ]
    summaries = await image_summaries(
        call, selected, containers=False, shared=call.flag("shared-size")
    )
    return answer(summaries)


async def image_summaries(
    call: Call, images: Iterable[Image], *, containers: bool, shared: bool
) -> list[dict[str, Any]]:
    """ImageSummary of each, the newest first; also for ``/system/df``."""
    ordered = sorted(images, key=lambda image: (created_ns(image), image.id), reverse=True)
    users = Counter(record.image_id for record in call.runtime.containers.list())
    shared_bytes = shared_sizes(call.runtime.images) if shared else {}
    return [
        versions.image_summary(
            call.version,
            render_image_summary(
                image,
                containers=users[image.id] if containers else -1,
                shared_bytes=shared_bytes.get(image.id, 0) if shared else -1,
            ),
        )
        for image in ordered
    ]


def layers_size(images: Images) -> int:
    """Bytes of all layers, each counted once."""
    sizes = {key: size for image in images.list() for key, size in images.layer_sizes(image)}
    return sum(sizes.values())


def shared_sizes(images: Images) -> dict[str, int]:
    """By image id: bytes of those layers that another image has, too."""
    layers = {image.id: dict(images.layer_sizes(image)) for image in images.list()}
    users = Counter(key for keys in layers.values() for key in keys)
    return {
        id: sum(size for key, size in keys.items() if users[key] > 1) for id, keys in layers.items()
    }


async def get_image_json(call: Call) -> web.StreamResponse:
    image = find_image(call, call.params["name"])
    rendered = render_image_inspect(image, call.door.host)
    if call.flag("manifests"):
        rendered["Manifests"] = [_manifest_summary(call, image)]
    if call.version >= (1, 48):
        rendered["Descriptor"] = render_descriptor(image.target)
    return answer(versions.image_inspect(call.version, rendered))


def _manifest_summary(call: Call, image: Image) -> dict[str, Any]:
    users = [r.id for r in call.runtime.containers.list() if r.image_id == image.id]
    total = image.content_size_bytes + image.unpacked_size_bytes
    return {
        "ID": image.manifest,
        "Descriptor": render_descriptor(replace(image.target, digest=image.manifest)),
        "Available": True,
        "Size": {"Content": image.content_size_bytes, "Total": total},
        "Kind": "image",
        "ImageData": {
            "Platform": render_platform(image.config.platform),
            "Containers": users,
            "Size": {"Unpacked": image.unpacked_size_bytes},
        },
    }


async def get_image_history(call: Call) -> web.StreamResponse:
    image = find_image(call, call.params["name"])
    rows = call.runtime.images.history(image.id)
    return answer(
        [
            {
                "Id": row.id or "<missing>",
                "Created": _seconds(row.created),
                "CreatedBy": row.created_by,
                "Tags": [familiar(name) for name in row.tags] or None,
                "Size": row.size_bytes,
                "Comment": row.comment,
            }
            for row in rows
        ]
    )


def _seconds(text: str) -> int:
    try:
        return max(parse_timestamp(text, now_ns=0), 0) // 1_000_000_000
    except ValueError:
        return 0


async def post_image_tag(call: Call) -> web.StreamResponse:
    image = find_image(call, call.params["name"])
    repo, tag = call.text("repo"), call.text("tag")
    try:
        reference = parse_name(repo)
        if reference.digest is not None:
            raise bad_request("refusing to create a tag with a digest reference")
        if tag or not reference.tag:
            reference = reference.with_tag(tag or "latest")
    except InvalidArgument as fault:
        raise bad_request(f"invalid reference format: {fault.reason}") from fault
    await call.finish(call.runtime.images.tag(image.id, str(reference)))
    return web.Response(status=201)


async def delete_image(call: Call) -> web.StreamResponse:
    name = call.params["name"]
    find_image(call, name)
    removed = await _remove(call, name, force=call.flag("force"), prune=not call.flag("noprune"))
    return answer(render_removed(removed))


async def _remove(call: Call, name: str, *, force: bool, prune: bool) -> Sequence[RemovedImage]:
    records = call.runtime.containers.list()

    def users(id: Digest) -> tuple[str, ...]:
        return tuple(r.id for r in records if r.image_id == id)

    def running(id: Digest) -> tuple[str, ...]:
        return tuple(
            r.id for r in records if r.image_id == id and r.state is ContainerState.RUNNING
        )

    work = call.runtime.images.remove(name, force=force, prune=prune, in_use=users, running=running)
    try:
        return await call.finish(work)
    except InUse as fault:
        raise Refusal(409, f"conflict: {fault.reason or fault}") from fault


def render_removed(removed: Iterable[RemovedImage]) -> list[dict[str, str]]:
    """ImageDeleteResponseItems."""
    return [
        {"Untagged": familiar(item.untagged)} if item.untagged else {"Deleted": item.deleted}
        for item in removed
    ]


async def post_images_prune(call: Call) -> web.StreamResponse:
    filters = call.filters("dangling", "label", "label!", "until")
    until = until_filter(filters)
    try:
        dangling = filters.boolean("dangling")
    except FilterError as error:
        raise bad_request(str(error)) from error
    only_dangling = dangling is None or dangling
    used = {record.image_id for record in call.runtime.containers.list()}
    before = layers_size(call.runtime.images)
    deleted: list[dict[str, str]] = []
    for image in list(call.runtime.images.list()):
        labels = image.config.labels
        if image.id in used or (only_dangling and image.repo_tags):
            continue
        if until and created_ns(image) >= until:
            continue
        if not filters.labels(labels) or not filters.without_labels(labels):
            continue
        try:
            deleted += render_removed(await _remove(call, image.id, force=True, prune=True))
        except (NotFound, Refusal):
            continue  # gone, or in use since
    reclaimed = max(before - layers_size(call.runtime.images), 0)
    await call.runtime.events.publish("image", "prune", "", {"reclaimed": str(reclaimed)})
    return answer({"ImagesDeleted": deleted or None, "SpaceReclaimed": reclaimed})


ROUTES = (
    Route("GET", "/images/json", get_images_json),
    Route("POST", "/images/prune", post_images_prune),
    Route("GET", "/images/{name*}/json", get_image_json),
    Route("GET", "/images/{name*}/history", get_image_history),
    Route("POST", "/images/{name*}/tag", post_image_tag),
    Route("DELETE", "/images/{name*}", delete_image),
)
