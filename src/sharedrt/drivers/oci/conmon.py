"""Starting conmon for a container: its arguments, its pipes, its cgroup, and what it answers."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sharedrt.drivers.children import Child
from sharedrt.drivers.oci.bundle import read_pid
from sharedrt.drivers.oci.checkpoint import RESTORE_LOG, RESTORE_OPTIONS, criu_words, search_path
from sharedrt.drivers.oci.errors import OTHER, start_failed
from sharedrt.drivers.oci.ports import Cgroups
from sharedrt.drivers.oci.procs import identify
from sharedrt.drivers.oci.state import BundleState
from sharedrt.drivers.oci.sync_pipe import SyncPipe
from sharedrt.model.drivers import ProcessIdentity
from sharedrt.model.faults import DeadlineExceeded, Fault, InvalidArgument, StartFailed

_EARLY_END_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Launch:
    """One container to create. ``cgroup`` is conmon's own cgroup; empty: it stays in the daemon's."""

    conmon: str
    container_id: str
    bundle: Path
    exits: Path
    state: BundleState
    systemd_cgroup: bool
    cgroup: str
    command: str
    log_max_bytes: int
    timeout_s: float
    checkpoint: Path | None = None
    """CRIU's images, out of which the processes come instead of being started."""
    criu: str = ""
    """The binary that does it."""


def runtime_arguments(state: BundleState, log: Path) -> list[str]:
    """The OCI runtime's global options, for conmon to pass on."""
    return [
        f"--runtime-arg=--root={state.runtime_root}",
        f"--runtime-arg=--log={log}",
        "--runtime-arg=--log-format=json",
    ]


def arguments(launch: Launch) -> list[str]:
    """conmon(8)'s command line for creating a container.

    Raises:
        InvalidArgument: a log path with a colon, which conmon would cut there.
    """
    state, bundle = launch.state, launch.bundle
    if ":" in state.log_path:
        raise InvalidArgument("log path", state.log_path, "must not have a colon")
    argv = [
        launch.conmon, "--api-version", "1",
        "-c", launch.container_id, "-u", launch.container_id,
        "-r", state.runtime, *runtime_arguments(state, bundle / "create.log"),
        "-b", str(bundle), "-p", str(bundle / "pidfile"), "-P", str(bundle / "conmon.pid"),
        "--exit-dir", str(launch.exits), "--persist-dir", str(launch.exits),
        "--full-attach", "--no-sync-log",
        "-l", f"k8s-file:{state.log_path}" if state.log_path else "none",
    ]  # fmt: skip
    if launch.log_max_bytes > 0 and state.log_path:
        argv += ["--log-size-max", str(launch.log_max_bytes)]
    if state.tty:
        argv.append("-t")
    if state.stdin:
        argv.append("-i")
        if not state.stdin_once:
            argv.append("--leave-stdin-open")
    if launch.systemd_cgroup:
        argv.append("-s")
    if launch.checkpoint is not None:
        argv += ["--restore", str(launch.checkpoint)]
        argv += [f"--runtime-opt={option}" for option in RESTORE_OPTIONS]
    return argv


async def launch_conmon(
    launch: Launch, cgroups: Cgroups
) -> tuple[ProcessIdentity, ProcessIdentity]:
    """Start conmon, and let it have the container created; (the process, conmon).

    conmon waits on its start pipe, is put into a cgroup of its own meanwhile, and so is never killed with the
    container nor with the daemon. Cancelled, both may be left running: the caller removes them.

    Raises:
        StartFailed: the runtime refused. DeadlineExceeded. FailedPrecondition: conmon is missing.
    """
    argv = arguments(launch)
    sync_read, sync_write = os.pipe()
    start_read, start_write = os.pipe()
    sync = SyncPipe(sync_read)
    try:
        try:
            env = {"_OCI_SYNCPIPE": "3", "_OCI_STARTPIPE": "4"}
            if launch.criu:
                env |= search_path(launch.criu)
            child = await Child.start(argv, env=env, pass_fds=(sync_write, start_read))
        finally:
            os.close(sync_write)
            os.close(start_read)
        try:
            try:
                if launch.cgroup:
                    await _move(cgroups, launch.cgroup, child.pid)
                os.write(start_write, b"\0")
            except (Fault, BrokenPipeError) as error:
                raise await _early_end(child, launch) or error from error
        except BaseException:
            child.kill()  # before its start pipe is closed, which would let it go on
            raise
        try:
            async with asyncio.timeout(launch.timeout_s):
                message = await sync.next()
                finished = await child.wait()
        except TimeoutError as e:
            child.kill()
            raise DeadlineExceeded(
                f"creating container {launch.container_id}", launch.timeout_s
            ) from e
    finally:
        os.close(start_write)
        sync.close()
    if message is None or message.data <= 0:
        if launch.checkpoint is not None and (told := criu_words(launch.bundle / RESTORE_LOG)):
            raise StartFailed(launch.container_id, f"CRIU: {told}", OTHER)
        words = message.message if message is not None else finished.output
        raise start_failed(launch.container_id, words, launch.bundle / "create.log", launch.command)
    process = identify(message.data)
    conmon = identify(read_pid(launch.bundle / "conmon.pid"))
    if process is None or conmon is None:
        raise StartFailed(launch.container_id, "the process ended before it was started", 128)
    return process, conmon


async def _early_end(child: Child, launch: Launch) -> StartFailed | None:
    """What conmon said when it ended before it was let go; ``None`` when it lives, and the trouble is another."""
    try:
        async with asyncio.timeout(_EARLY_END_S):
            finished = await child.wait()
    except TimeoutError:
        return None
    return start_failed(launch.container_id, finished.output, None, launch.command)


async def _move(cgroups: Cgroups, path: str, pid: int) -> None:
    """The cgroup is made anew where somebody has removed it."""
    try:
        await cgroups.move(path, pid)
    except Fault:
        await cgroups.ensure(path, for_processes=True)
        await cgroups.move(path, pid)
