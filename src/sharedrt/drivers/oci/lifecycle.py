"""Creating, starting, signalling, changing and deleting a container."""

import asyncio
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from sharedrt.drivers.oci.bundle import remove_bundle, write_bundle
from sharedrt.drivers.oci.cdi import add_cdi_devices
from sharedrt.drivers.oci.checkpoint import require_criu
from sharedrt.drivers.oci.conmon import Launch, launch_conmon
from sharedrt.drivers.oci.context import Context
from sharedrt.drivers.oci.errors import clean, start_failed
from sharedrt.drivers.oci.handlers import require_program
from sharedrt.drivers.oci.leftovers import guess_state, kill_makers
from sharedrt.drivers.oci.procs import PidFd, identify, kill_process
from sharedrt.drivers.oci.spec import render_config
from sharedrt.drivers.oci.spec_resources import render_resources
from sharedrt.drivers.oci.state import BundleState
from sharedrt.drivers.oci.users import resolve_user
from sharedrt.model.drivers import BundleRequest, ProcessIdentity
from sharedrt.model.faults import FailedPrecondition, Internal, NotFound
from sharedrt.model.ids import ContainerKey
from sharedrt.model.spec import Resources

_log = structlog.get_logger("sharedrt.oci")

_CONMON_PATIENCE_S: Final = 5.0


async def create(context: Context, request: BundleRequest) -> ProcessIdentity:
    """See :meth:`OciRuntime.create`. What a failed or cancelled one has made is removed again."""
    key = request.key
    await delete(context, key)
    handler = context.handlers.get(request.handler)
    conmon = require_program(context.settings.conmon)
    init = require_program(context.settings.catatonit) if request.spec.init else ""
    parent = request.cgroup_parent or context.parent_cgroup
    cgroup = context.cgroups.container_name(parent, key)
    bundle, exits = context.layout.bundle(key), context.layout.exits(key)

    def prepare() -> dict[str, Any]:
        user = request.spec.user
        if not user.name and user.uid is None:
            user = replace(user, name=request.image.user)
        ids = resolve_user(request.rootfs, user)
        config = render_config(
            request, ids, cgroups_path=cgroup.oci_path, facts=context.facts, notes=context.notes, init=init
        )  # fmt: skip
        if request.spec.cdi_devices:
            add_cdi_devices(config, request.spec.cdi_devices, context.settings.cdi_dirs)
        write_bundle(bundle, exits, config)
        if request.log_path:
            # conmon ends at once where the folder is missing; clients other than the kubelet make none.
            Path(request.log_path).parent.mkdir(parents=True, exist_ok=True)
        return config

    state = BundleState(
        handler=handler.name,
        runtime=handler.path,
        runtime_root=str(context.layout.runtime_root(handler.name, key)),
        cgroup=cgroup.path,
        rootfs=str(request.rootfs),
        tty=request.spec.tty,
        stdin=request.spec.open_stdin,
        stdin_once=request.spec.stdin_once,
        log_path=request.log_path,
        started=request.checkpoint is not None,
    )
    criu = ""
    if request.checkpoint is not None:
        criu = await require_criu(handler, context.settings.criu)
    try:
        config = await asyncio.to_thread(prepare)
        context.notes.log_new()
        context.keep(key, state)
        await context.cgroups.ensure(context.cgroups.parent_path(parent))
        launch = Launch(
            conmon=conmon,
            container_id=key.id,
            bundle=bundle,
            exits=exits,
            state=state,
            systemd_cgroup=context.systemd,
            cgroup=context.conmon_cgroup,
            command=str(config["process"]["args"][0]),
            log_max_bytes=request.log_max_bytes,
            timeout_s=context.settings.create_timeout_s,
            checkpoint=request.checkpoint,
            criu=criu,
        )
        process, monitor = await launch_conmon(launch, context.cgroups)
        context.keep(
            key,
            replace(
                state,
                pid=process.pid,
                start_ticks=process.start_ticks,
                conmon_pid=monitor.pid,
                conmon_ticks=monitor.start_ticks,
            ),
        )
    except OSError as e:
        await delete(context, key)
        raise Internal(f"bundle of {key.id}", str(e)) from e
    except BaseException:
        await delete(context, key)
        raise
    return process


async def start(context: Context, key: ContainerKey) -> None:
    """See :meth:`OciRuntime.start`."""
    state = context.state(key)
    if state.started:
        return  # restored: it has run since it was made
    finished = await context.runtime(state, "start", key.id)
    if finished.exit_code:
        raise start_failed(key.id, finished.output, None, "")
    context.keep(key, replace(state, started=True))


async def kill(context: Context, key: ContainerKey, number: int, *, everyone: bool) -> None:
    """See :meth:`OciRuntime.kill`."""
    state = context.find_state(key)
    if state is None or not kill_process(state.process, number):
        raise NotFound("process of container", key.id)
    if everyone and number == signal.SIGKILL:
        await context.cgroups.kill(state.cgroup)
    elif everyone:
        for pid in context.cgroups.pids(state.cgroup):
            if pid != state.pid and (other := identify(pid)) is not None:
                kill_process(other, number)
    if state.paused and number == signal.SIGKILL:
        await _thaw_killed(context, key, state)


async def _thaw_killed(context: Context, key: ContainerKey, state: BundleState) -> None:
    """A frozen process of v1 dies when it is thawed. One of v2 has died frozen: its cgroup may be gone."""
    if context.facts.cgroups.version == 1:
        await context.must(state, "resume", key.id)
    else:
        await context.runtime(state, "resume", key.id)
    context.keep(key, replace(state, paused=False))


async def pause(context: Context, key: ContainerKey) -> None:
    """Freeze all processes. Raises FailedPrecondition when not running, or paused already."""
    state = context.running(key)
    await context.must(state, "pause", key.id)
    context.keep(key, replace(state, paused=True))


async def resume(context: Context, key: ContainerKey) -> None:
    """Thaw them. Raises FailedPrecondition when it is not paused."""
    state = context.state(key)
    if not state.paused:
        raise FailedPrecondition("container", key.id, "is not paused")
    await context.must(state, "resume", key.id)
    context.keep(key, replace(state, paused=False))


async def update(context: Context, key: ContainerKey, resources: Resources) -> None:
    """Change limits of a running container; what is ``None`` stays as it is.

    crun cannot take back a limit of processes or of CPU time, and runc passes over huge pages and v2's own
    settings: these are written without them.
    """
    state = context.state(key)
    features = context.facts.cgroups
    lifted = _lifted(resources, swap=features.swap)
    file = context.layout.bundle(key) / "resources.json"

    def prepare() -> bool:
        rendered = render_resources(_without(resources, lifted), features, context.notes)
        file.write_text(json.dumps(rendered))
        return bool(rendered)

    given = await asyncio.to_thread(prepare)
    context.notes.log_new()
    if lifted != Resources():
        await context.cgroups.set_limits(state.cgroup, lifted)
    if given:
        await context.must(state, "update", "--resources", str(file), key.id)
    rest = Resources(
        hugepage_limits=resources.hugepage_limits if features.hugetlb else {},
        unified=resources.unified,
    )
    if rest != Resources():
        await context.cgroups.set_limits(state.cgroup, rest)


def _lifted(asked: Resources, *, swap: bool) -> Resources:
    """Of what was asked for the limits that are to go. Without a limit of memory there is none of memory and swap."""
    quota, pids = asked.cpu_quota_us, asked.pids_limit
    memory = asked.memory_bytes is not None and asked.memory_bytes < 0
    both = memory if asked.memory_swap_bytes is None else asked.memory_swap_bytes < 0
    return Resources(
        cpu_quota_us=-1 if quota is not None and quota < 0 else None,
        pids_limit=-1 if pids is not None and pids <= 0 else None,
        memory_bytes=-1 if memory else None,
        memory_swap_bytes=-1 if both and swap else None,
    )


def _without(asked: Resources, lifted: Resources) -> Resources:
    return replace(
        asked,
        cpu_quota_us=None if lifted.cpu_quota_us else asked.cpu_quota_us,
        pids_limit=None if lifted.pids_limit else asked.pids_limit,
        memory_bytes=None if lifted.memory_bytes else asked.memory_bytes,
        memory_swap_bytes=None if lifted.memory_swap_bytes else asked.memory_swap_bytes,
    )


async def delete(context: Context, key: ContainerKey) -> None:
    """See :meth:`OciRuntime.delete`. Each step is harmless when done before."""
    bundle, exits = context.layout.bundle(key), context.layout.exits(key)
    if not bundle.exists() and not exits.exists():
        context.forget(key)
        return
    state = context.find_state(key) or await asyncio.to_thread(guess_state, context, key)
    if state is None or not state.pid:
        # a crash or a cancellation in the middle of creating: conmon or the runtime may still be at work
        await asyncio.to_thread(kill_makers, bundle)
    if state is not None:
        await _remove_container(context, key, state)
        await _let_end(state.conmon)
    await asyncio.to_thread(remove_bundle, bundle, exits)
    context.forget(key)


async def _remove_container(context: Context, key: ContainerKey, state: BundleState) -> None:
    if state.paused:
        # a frozen process cannot die; one that has died already cannot be thawed, which is as well
        await context.runtime(state, "resume", key.id)
    if state.cgroup:
        await context.cgroups.kill(state.cgroup)
    kill_process(state.process)
    traces = Path(state.runtime_root) / key.id
    if traces.exists():
        finished = await context.runtime(state, "delete", "--force", key.id)
        if finished.exit_code and state.pid:
            raise Internal(f"{Path(state.runtime).name} delete", clean(finished.output))
        # of a half-made container the runtime may know too little to remove it
        await asyncio.to_thread(shutil.rmtree, traces, ignore_errors=True)
    if state.cgroup and not await context.cgroups.remove(state.cgroup):
        _log.warning("cgroup outlives its container", container=key.id, cgroup=state.cgroup)


async def _let_end(monitor: ProcessIdentity) -> None:
    """conmon ends by itself after its container; one that does not is killed."""
    held = PidFd.open(monitor)
    if held is None:
        return
    with held:
        try:
            async with asyncio.timeout(_CONMON_PATIENCE_S):
                await held.wait()
        except TimeoutError:
            held.send_signal(signal.SIGKILL)
