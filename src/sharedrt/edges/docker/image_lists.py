"""``/images``: list, inspect, history, tag, remove, prune."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.image_access import familiar, find_image
from sharedrt.edges.docker.image_filters import LIST_FILTERS, ImageFilter
from sharedrt.edges.docker.platform_choice import check_json_platform
from sharedrt.edges.docker.render_image import (
    created_ns,
    render_image_inspect,
    render_image_summary,
    render_manifests,
)
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.times import until_filter
from sharedrt.edges.docker.words import Refusal, bad_reference, bad_request
from sharedrt.model.faults import Ambiguous, InUse, InvalidArgument, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.model.spec import MountKind
from sharedrt.services.images import Image, Images, RemovedImage
from sharedrt.wire.docker_filters import FilterError
from sharedrt.wire.docker_time import parse_timestamp
from sharedrt.wire.reference import parse_name

_DIGEST_ALGORITHMS: Final = ("sha256", "sha384", "sha512")


async def get_images_json(call: Call) -> web.StreamResponse:
    filters = versions.image_list_filters(
        call.version, call.filters(*LIST_FILTERS), call.text("filter")
    )
    chosen = ImageFilter(call, filters)
    selected = [
        replace(image, references=chosen.matching(image))
        for image in call.runtime.images.list()
        if chosen.passes(image)
    ]
    summaries = image_summaries(
        call,
        selected,
        containers=versions.counts_containers(call.version),
        shared=call.flag("shared-size"),
        manifests=call.flag("manifests"),
    )
    return answer(summaries)


def image_summaries(
    call: Call,
    images: Iterable[Image],
    *,
    containers: bool,
    shared: bool,
    manifests: bool = False,
) -> list[dict[str, Any]]:
    """ImageSummary of each, the newest first; also for ``/system/df``."""
    ordered = sorted(images, key=lambda image: (created_ns(image), image.id), reverse=True)
    users: dict[str, list[str]] = {}
    for record in call.runtime.containers.list():
        users.setdefault(record.image_id, []).append(record.id)
    shared_bytes = shared_sizes(call.runtime.images) if shared else {}
    summaries = []
    for image in ordered:
        of_image = users.get(image.id, [])
        summary = render_image_summary(
            image,
            containers=len(of_image) if containers else -1,
            shared_bytes=shared_bytes.get(image.id, 0) if shared else -1,
        )
        if manifests:
            summary |= render_manifests(image, of_image)
        summaries.append(versions.image_summary(call.version, summary))
    return summaries


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
    if call.flag("manifests") and call.text("platform"):
        raise bad_request("conflicting options: manifests and platform options cannot both be set")
    image = find_image(call, call.params["name"])
    check_json_platform(call, image, call.params["name"])
    rendered = render_image_inspect(image, call.door.host)
    if call.flag("manifests"):
        users = [r.id for r in call.runtime.containers.list() if r.image_id == image.id]
        rendered |= render_manifests(image, users)
    return answer(versions.image_inspect(call.version, rendered))


async def get_image_history(call: Call) -> web.StreamResponse:
    image = find_image(call, call.params["name"])
    check_json_platform(call, image, call.params["name"])
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
            raise bad_request("cannot import digest reference")
        if reference.familiar_name in _DIGEST_ALGORITHMS:
            raise bad_request("refusing to create an ambiguous tag using digest algorithm as name")
        if tag or not reference.tag:
            reference = reference.with_tag(tag or "latest")
    except InvalidArgument as fault:
        raise bad_reference(fault) from fault
    await call.finish(call.runtime.images.tag(image.id, str(reference)))
    return web.Response(status=201)


async def delete_image(call: Call) -> web.StreamResponse:
    name = call.params["name"]
    check_json_platform(call, find_image(call, name), name, "platforms")
    removed = await _remove(call, name, force=call.flag("force"), prune=not call.flag("noprune"))
    return answer(render_removed(removed))


async def _remove(call: Call, name: str, *, force: bool, prune: bool) -> Sequence[RemovedImage]:
    records = call.runtime.containers.list()

    def mounts(record: ContainerRecord, id: Digest) -> bool:
        for mount in record.spec.mounts:
            if mount.kind is MountKind.IMAGE:
                with suppress(NotFound, Ambiguous):
                    if call.runtime.images.get(mount.source).id == id:
                        return True
        return False

    def users(id: Digest) -> tuple[str, ...]:
        return tuple(r.id for r in records if r.image_id == id or mounts(r, id))

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
    before = layers_size(call.runtime.images)
    deleted: list[dict[str, str]] = []
    for image in list(call.runtime.images.list()):
        labels = image.config.labels
        if only_dangling and image.repo_tags:
            continue
        if until is not None and created_ns(image) >= until:
            continue
        if not filters.labels(labels) or not filters.without_labels(labels):
            continue
        # Name by name, as dockerd does: an image in use keeps the last of its names.
        for name in image.references or (image.id,):
            try:
                deleted += render_removed(await _remove(call, name, force=False, prune=True))
            except (NotFound, Refusal):
                continue  # gone with the name before, or in use
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
