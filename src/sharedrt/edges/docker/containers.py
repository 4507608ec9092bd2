"""``/containers``: create, life, and change. Lists are in ``container_lists``, streams in ``container_streams``."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from aiohttp import web

from sharedrt.aio.groups import task_group
from sharedrt.edges.docker import versions
from sharedrt.edges.docker.call import Call, answer, dump, no_content, not_modified
from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.image_access import find_image, image_config
from sharedrt.edges.docker.names import random_name
from sharedrt.edges.docker.network_access import bridge_gateway
from sharedrt.edges.docker.platform_choice import check_platform
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.translate_create import (
    EXTENSION,
    CreateContext,
    Translation,
    check_name,
    translate_create,
)
from sharedrt.edges.docker.translate_log import RestartPlan, translate_restart
from sharedrt.edges.docker.translate_resources import translate_resources
from sharedrt.edges.docker.words import Refusal, bad_request, start_failed
from sharedrt.model.faults import (
    AlreadyDone,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    StartFailed,
)
from sharedrt.model.ids import ContainerId, new_id
from sharedrt.model.records import ContainerRecord, Json
from sharedrt.model.spec import Mount, MountKind
from sharedrt.services.contracts import WaitCondition

_NAME_ATTEMPTS = 20


# ---------------------------------------------------------------- create


async def post_containers_create(call: Call) -> web.StreamResponse:
    body = await call.body()
    name = call.text("name")
    if name:
        name = check_name(name)
    reference = body.text("Image")
    if not reference:
        raise bad_request("config cannot be empty in order to create a container")
    image = find_image(call, reference)
    check_platform(image, call.text("platform"), reference)
    host_config = versions.create_host_config(call.version, body.sub("HostConfig").raw)
    if (runtime := body.text("Runtime")) and not host_config.get("Runtime"):
        # Where docker-py puts it.
        host_config["Runtime"] = runtime
    context = CreateContext(
        call.door.host, call.runtime.containers.get, lambda: bridge_gateway(call.runtime)
    )

    def translate(chosen: str) -> Translation:
        return translate_create(
            ContainerId(new_id()), chosen, body, host_config, image_config(image), context
        )

    record, warnings = await _create(call, translate, name)
    return answer({"Id": record.id, "Warnings": list(warnings)}, status=201)


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
    record = call.container()
    if record.paused:
        raise Refusal(409, "cannot start a paused container, try unpause instead")
    try:
        await call.finish(call.runtime.containers.start(record.id))
    except AlreadyDone:
        return not_modified()
    except StartFailed as fault:
        raise Refusal(*start_failed(fault)) from fault
    except InvalidArgument as fault:
        raise bad_request(f"{fault}") from fault
    await _set_console_size(call, record)
    return no_content()


async def _set_console_size(call: Call, record: ContainerRecord) -> None:
    """HostConfig.ConsoleSize is [height, width]."""
    size = ContainerView(record).host_config.get("ConsoleSize")
    if not record.spec.tty or not isinstance(size, list) or size in ([], [0, 0]):
        return
    with suppress(FailedPrecondition):  # it has ended already
        await call.runtime.containers.resize(record.id, int(str(size[1])), int(str(size[0])))


async def post_containers_stop(call: Call) -> web.StreamResponse:
    record = call.container()
    work = call.runtime.containers.stop(
        record.id, grace_s=_grace(call, record), signal=call.text("signal")
    )
    try:
        await call.finish(work)
    except AlreadyDone:
        return not_modified()
    return no_content()


async def post_containers_restart(call: Call) -> web.StreamResponse:
    record = call.container()
    work = call.runtime.containers.restart(
        record.id, grace_s=_grace(call, record), signal=call.text("signal")
    )
    try:
        await call.finish(work)
    except StartFailed as fault:
        raise Refusal(*start_failed(fault)) from fault
    return no_content()


def _grace(call: Call, record: ContainerRecord) -> float | None:
    """``t``, or what the container was created with."""
    asked = call.integer("t")
    return ContainerView(record).stop_timeout_s if asked is None else asked


async def post_containers_kill(call: Call) -> web.StreamResponse:
    record = call.container()
    work = call.runtime.containers.kill(record.id, call.text("signal") or "SIGKILL")
    try:
        await call.finish(work)
    except FailedPrecondition as fault:
        message = (
            f"cannot kill container: {call.params['id']}: container {record.id} is not running"
        )
        raise Refusal(409, message) from fault
    except InvalidArgument as fault:
        raise bad_request(f"Invalid signal: {call.text('signal')}") from fault
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
    name = check_name(call.text("name"))
    if name == record.name:
        raise bad_request("Renaming a container with the same name as its current name")
    await call.finish(call.runtime.containers.rename(record.id, name))
    return no_content()


async def delete_containers(call: Call) -> web.StreamResponse:
    record = call.container()
    if call.flag("link"):
        raise Refusal(
            409, f"Conflict, cannot remove the default link name of the container /{record.name}"
        )
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


def _not_removable(view: ContainerView) -> Refusal:
    hint = "stop the container before removing or force remove"
    if view.status == "paused":
        hint = "unpause and then " + hint
    name = view.record.name
    return Refusal(409, f'cannot remove container "/{name}": container is {view.status}: {hint}')


async def post_containers_wait(call: Call) -> web.StreamResponse:
    """The head goes out before the end: the CLI starts the container only when it has it."""
    record = call.container()
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
            ended = await waiting
            await response.write(dump({"StatusCode": ended.exit_code}) + b"\n")
    return response


async def post_containers_resize(call: Call) -> web.StreamResponse:
    record = call.container()
    width, height = terminal_size(call)
    await call.runtime.containers.resize(record.id, width, height)
    return web.Response(status=200)


def terminal_size(call: Call) -> tuple[int, int]:
    """(width, height) out of ``w`` and ``h``."""
    width, height = call.integer("w"), call.integer("h")
    if width is None or height is None:
        raise bad_request("invalid resize: both h and w are needed")
    if not (0 <= width < 1 << 16 and 0 <= height < 1 << 16):
        raise bad_request(f"invalid resize: {height}x{width}")
    return width, height


# ---------------------------------------------------------------- change


async def post_containers_update(call: Call) -> web.StreamResponse:
    body = await call.body()
    record = call.container()
    view = ContainerView(record)
    changed = {name: body.raw[name] for name in body.raw if body.raw[name] is not None}
    policy = changed.pop("RestartPolicy", None)
    host_config = view.host_config
    merged = Fields({**host_config, **_limits_of(changed, host_config)}, "HostConfig")
    resources = translate_resources(merged, call.door.host.cpus)
    if changed:
        await call.finish(call.runtime.containers.update(record.id, resources))
        host_config.update(_limits_of(changed, host_config))
    restart = RestartPlan(record.restart_policy, record.restart_max_retries)
    if isinstance(policy, dict) and policy.get("Name"):
        restart = translate_restart(Fields(policy))
        if record.auto_remove and restart.policy != "no":
            raise bad_request(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        host_config["RestartPolicy"] = {
            "Name": restart.policy,
            "MaximumRetryCount": restart.max_retries,
        }

    def apply(old: ContainerRecord) -> ContainerRecord:
        extension = {**ContainerView(old).extension, "HostConfig": host_config}
        return replace(
            old,
            extensions={**old.extensions, EXTENSION: extension},
            restart_policy=restart.policy,
            restart_max_retries=restart.max_retries,
        )

    await call.finish(call.runtime.containers.change(record.id, apply))
    return answer({"Warnings": None})


def _limits_of(changed: Mapping[str, Json], old: Mapping[str, Json]) -> dict[str, Json]:
    """The update's non-zero figures. ``--memory`` alone keeps the swap that was set."""
    limits: dict[str, Json] = {
        name: value for name, value in changed.items() if value not in (0, "", [], None)
    }
    if "NanoCpus" in limits:
        limits |= {"CpuQuota": 0, "CpuPeriod": 0}
    elif "CpuQuota" in limits or "CpuPeriod" in limits:
        limits["NanoCpus"] = 0
    return limits


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
    Route("DELETE", "/containers/{id}", delete_containers),
)
