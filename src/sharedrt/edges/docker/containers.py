"""``/containers``: create, life, and change. Lists are in ``container_lists``, streams in ``container_streams``."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from aiohttp import web

from sharedrt.aio.groups import task_group
from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer, dump, no_content, not_modified
from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.cpusets import check_cpusets
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.host_abilities import has_selinux, known_sysctls, optional_files
from sharedrt.edges.docker.host_limits import unprivileged_warnings
from sharedrt.edges.docker.image_access import find_image, image_config
from sharedrt.edges.docker.links import without_link
from sharedrt.edges.docker.names import random_name
from sharedrt.edges.docker.network_access import bridge_gateway, network_id
from sharedrt.edges.docker.platform_choice import asked_platform, check_platform
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.start_refusal import start_refusal
from sharedrt.edges.docker.translate_create import (
    DEFAULT_SYSCTLS,
    EXTENSION,
    CreateContext,
    Translation,
    check_name,
    translate_create,
)
from sharedrt.edges.docker.translate_update import translate_update
from sharedrt.edges.docker.versions_create import (
    create_request,
    create_warnings,
    kernel_memory_warnings,
)
from sharedrt.edges.docker.words import Refusal, bad_request, to_http
from sharedrt.model.faults import (
    AlreadyDone,
    AlreadyExists,
    Ambiguous,
    FailedPrecondition,
    FailureWords,
    Fault,
    InvalidArgument,
    NotFound,
)
from sharedrt.model.ids import ContainerId, new_id
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.model.spec import Mount, MountKind
from sharedrt.services.contracts import WaitCondition

_NAME_ATTEMPTS: Final = 20
_TERMINAL_MAX: Final = 0xFFFF


# ---------------------------------------------------------------- create


async def post_containers_create(call: Call) -> web.StreamResponse:
    given = (await call.body(required=True)).raw
    body = Fields(create_request(call.version, given))
    name = call.text("name")
    if name:
        name = check_name(name)
    reference = body.text("Image")
    if not reference:
        raise bad_request("config cannot be empty in order to create a container")
    image = find_image(call, reference)
    check_platform(image, asked_platform(call.text("platform"), call.door.host), reference)
    host_config = body.sub("HostConfig").raw
    if (runtime := body.text("Runtime")) and not host_config.get("Runtime"):
        # Where docker-py puts it.
        host_config["Runtime"] = runtime
    context = CreateContext(
        call.door.host,
        call.runtime.containers.get,
        lambda: bridge_gateway(call.runtime),
        await asyncio.to_thread(optional_files, call.door.host.cgroup_version),
        selinux=await asyncio.to_thread(has_selinux),
        sysctls=await asyncio.to_thread(known_sysctls, DEFAULT_SYSCTLS),
        recursive_readonly=versions.readonly_is_recursive(call.version),
        network_id=network_id(call.runtime),
    )
    await asyncio.to_thread(check_cpusets, Fields(host_config, "HostConfig"))

    def translate(chosen: str) -> Translation:
        try:
            return translate_create(
                ContainerId(new_id()), chosen, body, host_config, image_config(image), context
            )
        except NotFound as fault:
            # A 404 would have the CLI pull the image: it is a container that is not there.
            raise bad_request(to_http(fault)[1]) from fault

    record, warnings = await _create(call, translate, name)
    bounds = await asyncio.to_thread(
        unprivileged_warnings, record.spec.oom_score_adj, record.spec.rlimits
    )
    told = [*warnings, *bounds, *create_warnings(call.version, given)]
    return answer({"Id": record.id, "Warnings": told}, status=201)


async def _create(
    call: Call, translate: Callable[[str], Translation], name: str
) -> tuple[ContainerRecord, tuple[str, ...]]:
    for attempt in range(_NAME_ATTEMPTS):
        translation = translate(name or random_name(attempt))
        await _check_sources(translation.request.spec.mounts)
        try:
            record = await call.finish(call.runtime.containers.create(translation.request))
        except AlreadyExists:
            if name or attempt == _NAME_ATTEMPTS - 1:
                raise
            continue
        return record, translation.warnings
    raise AssertionError("the loop returns or raises")


async def _check_sources(mounts: tuple[Mount, ...]) -> None:
    """A missing source of ``--mount`` refuses the create, as at dockerd, and not only the start."""
    sources = [m.source for m in mounts if m.kind is MountKind.BIND and not m.create_source]
    for source in sources:
        if not await asyncio.to_thread(os.path.lexists, source):
            raise bad_request(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            )


# ---------------------------------------------------------------- life


async def post_containers_start(call: Call) -> web.StreamResponse:
    # Seven bytes: what clients of old send for no configuration at all, such as null.
    length = call.request.content_length
    if (length is None and call.request.body_exists) or (length or 0) > 7:
        raise bad_request(
            "starting container with non-empty request body was deprecated since API v1.22 "
            "and removed in v1.24"
        )
    if call.text("checkpoint"):
        raise bad_request("checkpoint is only supported in experimental mode")
    record = call.container()
    if record.paused:
        raise Refusal(409, "cannot start a paused container, try unpause instead")
    words = _start_words(record)
    try:
        await call.finish(call.runtime.containers.start(record.id, words=words))
    except AlreadyDone:
        return not_modified()
    except Fault as fault:
        raise start_refusal(record, fault) from fault
    return no_content()


def _start_words(record: ContainerRecord) -> FailureWords:
    return lambda fault: start_refusal(record, fault).message


async def post_containers_stop(call: Call) -> web.StreamResponse:
    record = call.container()
    work = call.runtime.containers.stop(
        record.id,
        grace_s=_grace(call, record),
        signal=versions.stop_signal(call.version, call.text("signal")),
    )
    try:
        await call.finish(work)
    except AlreadyDone:
        return not_modified()
    return no_content()


async def post_containers_restart(call: Call) -> web.StreamResponse:
    record = call.container()
    work = call.runtime.containers.restart(
        record.id,
        grace_s=_grace(call, record),
        signal=versions.stop_signal(call.version, call.text("signal")),
        words=_start_words(record),
    )
    try:
        await call.finish(work)
    except Fault as fault:
        raise start_refusal(record, fault) from fault
    return no_content()


def _grace(call: Call, record: ContainerRecord) -> float | None:
    """``t``, or what the container was created with."""
    asked = call.integer("t")
    return ContainerView(record).stop_timeout_s if asked is None else asked


async def post_containers_kill(call: Call) -> web.StreamResponse:
    try:
        record = call.container()
    except (NotFound, Ambiguous) as fault:
        status, words = to_http(fault)
        raise Refusal(status, f"cannot kill container: {call.params['id']}: {words}") from fault
    signal = call.text("signal") or "SIGKILL"
    work = call.runtime.containers.kill(record.id, signal)
    try:
        await call.finish(work)
    except FailedPrecondition as fault:
        message = (
            f"cannot kill container: {call.params['id']}: container {record.id} is not running"
        )
        raise Refusal(409, message) from fault
    except InvalidArgument as fault:
        message = f"cannot kill container: {call.params['id']}: invalid signal: {signal}"
        raise bad_request(message) from fault
    return no_content()


async def post_containers_pause(call: Call) -> web.StreamResponse:
    record = call.container()
    await _said_of(record, call.finish(call.runtime.containers.pause(record.id)))
    return no_content()


async def post_containers_unpause(call: Call) -> web.StreamResponse:
    record = call.container()
    await _said_of(record, call.finish(call.runtime.containers.unpause(record.id)))
    return no_content()


async def _said_of(record: ContainerRecord, work: Awaitable[None]) -> None:
    """``Container ID is not paused`` and the like."""
    try:
        await work
    except FailedPrecondition as fault:
        raise Refusal(409, f"Container {record.id} {fault.reason}") from fault


async def post_containers_rename(call: Call) -> web.StreamResponse:
    record = call.container()
    if not call.text("name"):
        raise bad_request("Neither old nor new names may be empty")
    try:
        name = check_name(call.text("name"))
    except Refusal as refusal:
        raise bad_request(f"Error when allocating new name: {refusal.message}") from refusal
    if name == record.name:
        raise bad_request("Renaming a container with the same name as its current name")
    try:
        await call.finish(call.runtime.containers.rename(record.id, name))
    except AlreadyExists as fault:
        raise Refusal(409, f"Error when allocating new name: {to_http(fault)[1]}") from fault
    return no_content()


async def delete_containers(call: Call) -> web.StreamResponse:
    if call.flag("link"):
        return await _delete_link(call)
    record = call.container()
    force = call.flag("force")
    view = ContainerView(record, call.runtime.containers.restarting(record.id))
    if view.restarting and not force:
        raise _not_removable(view)
    work = call.runtime.containers.remove(record.id, force=force, volumes=call.flag("v"))
    try:
        await call.finish(work)
    except FailedPrecondition as fault:
        raise _not_removable(view) from fault
    return no_content()


async def _delete_link(call: Call) -> web.StreamResponse:
    """``docker rm --link CONTAINER/ALIAS``: the containers stay; the name goes with the next start."""
    owner, slash, alias = call.params["id"].strip("/").partition("/")
    record = call.runtime.containers.get(owner)
    if not slash:
        raise Refusal(
            409, f"Conflict, cannot remove the default link name of the container /{record.name}"
        )
    await call.finish(
        call.runtime.containers.change(record.id, lambda old: without_link(old, alias))
    )
    return no_content()


def _not_removable(view: ContainerView) -> Refusal:
    hint = "stop the container before removing or force remove"
    if view.status == "paused":
        hint = "unpause and then " + hint
    name = view.record.name
    return Refusal(409, f'cannot remove container "/{name}": container is {view.status}: {hint}')


async def post_containers_wait(call: Call) -> web.StreamResponse:
    """The head goes out before the end: the CLI starts the container only when it has it."""
    record = call.container()
    view = ContainerView(record, call.runtime.containers.restarting(record.id))
    condition = versions.wait_condition(call.version, call.text("condition"))
    try:
        wanted = WaitCondition(condition or "not-running")
    except ValueError as error:
        raise bad_request(f'invalid condition: "{condition}"') from error
    async with task_group() as group:
        # Under way before the head is out, so that an end in between is not missed.
        waiting = group.create_task(call.runtime.containers.wait(record.id, wanted))
        await asyncio.sleep(0)
        async with call.stream("application/json") as response:
            told: dict[str, object] = {"StatusCode": (await waiting).exit_code}
            if wanted is WaitCondition.NOT_RUNNING and view.error:
                told["Error"] = {"Message": view.error}
            await response.write(dump(told) + b"\n")
    return response


async def post_containers_resize(call: Call) -> web.StreamResponse:
    width, height = terminal_size(call)
    record = call.container()
    if record.spec.tty or record.state is not ContainerState.RUNNING:
        await call.runtime.containers.resize(record.id, width, height)
    return web.Response(status=200)


def terminal_size(call: Call) -> tuple[int, int]:
    """(width, height) out of ``w`` and ``h``, which the kernel keeps in 16 bits each. Raises Refusal."""
    height, width = call.uint32("h", "resize height"), call.uint32("w", "resize width")
    return min(width, _TERMINAL_MAX), min(height, _TERMINAL_MAX)


# ---------------------------------------------------------------- change


async def post_containers_update(call: Call) -> web.StreamResponse:
    body = await call.body()
    record = call.container()
    update = translate_update(
        record.id,
        versions.update_config(call.version, body.raw),
        ContainerView(record).host_config,
        auto_remove=record.auto_remove,
        cpus=call.door.host.cpus,
        abilities=await asyncio.to_thread(optional_files, call.door.host.cgroup_version),
    )
    await asyncio.to_thread(check_cpusets, body)
    if update.resources is not None:
        await call.finish(call.runtime.containers.update(record.id, update.resources))

    def apply(old: ContainerRecord) -> ContainerRecord:
        extension = {**ContainerView(old).extension, "HostConfig": update.host_config}
        changed = replace(old, extensions={**old.extensions, EXTENSION: extension})
        if (restart := update.restart) is None:
            return changed
        return replace(
            changed, restart_policy=restart.policy, restart_max_retries=restart.max_retries
        )

    await call.finish(call.runtime.containers.change(record.id, apply))
    warnings = [*update.warnings, *kernel_memory_warnings(call.version, body.raw)]
    return answer({"Warnings": warnings or None})


ROUTES = (
    Route("POST", "/containers/create", post_containers_create),
    Route("POST", "/containers/{id}/start", post_containers_start),
    Route("POST", "/containers/{id}/stop", post_containers_stop),
    Route("POST", "/containers/{id}/restart", post_containers_restart),
    Route("POST", "/containers/{id}/kill", post_containers_kill),
    Route("POST", "/containers/{id}/pause", post_containers_pause),
    Route("POST", "/containers/{id}/unpause", post_containers_unpause),
    Route("POST", "/containers/{id}/rename", post_containers_rename),
    Route("POST", "/containers/{id}/wait", post_containers_wait),
    Route("POST", "/containers/{id}/resize", post_containers_resize),
    Route("POST", "/containers/{id}/update", post_containers_update),
    Route("DELETE", "/containers/{id+}", delete_containers),
)
