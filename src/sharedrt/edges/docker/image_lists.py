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
from sharedrt.services.images import Image, RemovedImage
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
    shared_bytes = await call.runtime.images.shared_sizes() if shared else {}
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


async def layers_size(call: Call) -> int:
    """Bytes of all layers, each counted once."""
    return await call.runtime.images.layers_size()


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
    entries = await call.runtime.images.history(image.id)
    rendered = []
    for index, entry in enumerate(entries):
        newest = index == 0
        rendered.append(
            {
                "Id": image.id if newest else "<missing>",
                "Created": _seconds(entry.created),
                "CreatedBy": entry.created_by,
                "Tags": [familiar(name) for name in image.repo_tags] or None if newest else None,
                "Size": entry.size_bytes,
                "Comment": entry.comment,
            }
        )
    return answer(rendered)


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
    try:
        return await call.finish(call.runtime.images.remove(name, force=force, prune=prune))
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
    before = await layers_size(call)
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
    reclaimed = max(before - await layers_size(call), 0)
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
