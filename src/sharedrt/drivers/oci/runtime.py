"""The OCI driver as services see it. Implements model's OciRuntime."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog

from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskOwner
from sharedrt.drivers.oci import lifecycle
from sharedrt.drivers.oci.checkpoint import checkpoint, checkpointing, require_criu
from sharedrt.drivers.oci.context import Context
from sharedrt.drivers.oci.control import Resizer, send_line
from sharedrt.drivers.oci.exec_process import exec_process, record_process
from sharedrt.drivers.oci.execs import ExecLaunch, ExecSession, start_exec
from sharedrt.drivers.oci.exits import ExitSource, wait_for_exit
from sharedrt.drivers.oci.figures import device_of, file_system, process_figures
from sharedrt.drivers.oci.handlers import Problem, find_program, missing, probe, require_program
from sharedrt.drivers.oci.host import read_host
from sharedrt.drivers.oci.hub import AttachHub, AttachSession
from sharedrt.drivers.oci.lost_execs import end_lost_execs
from sharedrt.drivers.oci.ports import Cgroups
from sharedrt.drivers.oci.procs import alive, identify, kill_process, started_us
from sharedrt.drivers.oci.reopen import inode_of, wait_for_new_file
from sharedrt.drivers.oci.settings import OciSettings
from sharedrt.drivers.oci.state import BundleState, load_process, load_spec
from sharedrt.drivers.spawn import keep_to_ourselves
from sharedrt.model.drivers import (
    BundleRequest,
    CgroupStats,
    ContainerDetails,
    ExecResult,
    ExitStatus,
    NetworkStats,
    ProcessIdentity,
)
from sharedrt.model.faults import DeadlineExceeded, FailedPrecondition, NotFound
from sharedrt.model.ids import ContainerKey
from sharedrt.model.records import ExecRecord
from sharedrt.model.spec import Resources
from sharedrt.model.stdio import StdStream
from sharedrt.wire.conmon import reopen_log_line

_log = structlog.get_logger("sharedrt.oci")


class OciDriver:
    """Containers through conmon and crun, runc or another handler. Made by :meth:`open`.

    Keeps nothing that matters in memory: a new object serves the containers of an old one.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._hubs: dict[ContainerKey, AttachHub] = {}
        self._resizers: WeakValueDictionary[ContainerKey, Resizer] = WeakValueDictionary()
        """Kept by their terminals' clients, and by themselves while a size has to be told."""
        self._joining = KeyedLocks()
        self._device = ""
        self._abandoned = TaskOwner("oci")

    @classmethod
    async def open(cls, settings: OciSettings, cgroups: Cgroups) -> "OciDriver":
        """Probe the host and make the folders. Missing programs are no error here; see :meth:`problems`."""
        keep_to_ourselves()
        for folder in (settings.run_dir, settings.state_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        facts = read_host(cgroups.features)
        bound = cgroups.features.version == 2 and facts.hard_limits.get("memlock", -1) >= 0
        handlers = await probe(settings, cgroups.hierarchies.left_over, locked_memory_bound=bound)
        context = Context(settings, cgroups, facts, handlers)
        if handlers.usable and handlers.default != settings.default_handler:
            refused = handlers.refused.get(settings.default_handler)
            why = f"{refused.reason}: {refused.cure}" if refused else "not configured"
            _log.warning(
                "default runtime handler replaced",
                wanted=settings.default_handler, used=handlers.default, why=why,
            )  # fmt: skip
        if context.conmon_cgroup:
            await cgroups.ensure(context.conmon_cgroup, for_processes=True)
        return cls(context)

    def handlers(self) -> Mapping[str, str]:
        return {name: handler.path for name, handler in self._context.handlers.usable.items()}

    async def leftovers(self) -> Sequence[ContainerKey]:
        return await asyncio.to_thread(self._context.layout.keys_on_disk)

    async def end_lost_execs(self, key: ContainerKey) -> None:
        folder = self._context.layout.bundle(key) / "execs"
        await asyncio.to_thread(end_lost_execs, folder)

    async def purge(self) -> None:
        cgroups = self._context.cgroups
        if conmons := self._context.conmon_cgroup:
            # A helper of a runtime that was killed just now may not have ended yet. Above it may be others' processes.
            await cgroups.kill(conmons)
        await cgroups.remove(cgroups.parent_path(self._context.parent_cgroup))
        await asyncio.to_thread(self._context.layout.remove)

    @property
    def runtimes_folder(self) -> Path:
        """See :attr:`Layout.runtimes`."""
        return self._context.layout.runtimes

    @property
    def default_handler(self) -> str:
        """The handler that serves requests which name none."""
        return self._context.handlers.default

    def problems(self) -> Sequence[Problem]:
        """What is missing or wrong on this host, with the cure, for ``sharedrt check``."""
        settings, facts = self._context.settings, self._context.facts
        found = [*self._context.handlers.refused.values()]
        found += [missing(p) for p in (settings.conmon, settings.catatonit) if not find_program(p)]
        if facts.apparmor and not facts.apparmor_default:
            found.append(
                Problem(
                    "apparmor",
                    "the default profile is not loaded; containers run unconfined by AppArmor",
                    "load it with apparmor_parser -r, then restart the daemon",
                )
            )
        return found

    async def create(self, request: BundleRequest) -> ProcessIdentity:
        self._drop_hub(request.key)
        return await lifecycle.create(self._context, request)

    async def start(self, key: ContainerKey) -> None:
        await lifecycle.start(self._context, key)

    async def kill(self, key: ContainerKey, signal: int, *, all: bool = False) -> None:
        await lifecycle.kill(self._context, key, signal, everyone=all)

    async def delete(self, key: ContainerKey) -> None:
        await lifecycle.delete(self._context, key)
        self._drop_hub(key)

    async def pause(self, key: ContainerKey) -> None:
        await lifecycle.pause(self._context, key)

    async def resume(self, key: ContainerKey) -> None:
        await lifecycle.resume(self._context, key)

    async def update(self, key: ContainerKey, resources: Resources) -> None:
        await lifecycle.update(self._context, key, resources)

    async def require_checkpoints(self, handler: str) -> None:
        await require_criu(self._context.handlers.get(handler), self._context.settings.criu)

    async def checkpoint(self, key: ContainerKey, folder: Path) -> None:
        await checkpoint(self._context, key, folder)

    async def checkpointing(self, folder: Path) -> bool:
        return await asyncio.to_thread(checkpointing, folder)

    def alive(self, identity: ProcessIdentity) -> bool:
        return alive(identity)

    async def wait(self, key: ContainerKey, identity: ProcessIdentity) -> ExitStatus:
        context = self._context
        state = context.find_state(key)
        cgroup = state.cgroup if state is not None else ""
        exits = context.layout.exits(key)

        def stop() -> None:
            for pid in context.cgroups.pids(cgroup) if cgroup else ():
                if (other := identify(pid)) is not None:
                    kill_process(other)

        def on_end() -> None:
            if hub := self._hubs.get(key):
                hub.process_ended()

        return await wait_for_exit(
            ExitSource(
                name=key.id,
                process=identity,
                conmon=state.conmon if state is not None else ProcessIdentity(0, 0),
                exit_file=context.layout.exit_file(key),
                oom_mark=exits / "oom",
                stop=stop,
                on_end=on_end,
                oom_kills=lambda: context.cgroups.oom_kills(cgroup) if cgroup else None,
                oom_told=lambda: (
                    bool(cgroup) and context.cgroups.oom_told(cgroup, started_us(identity))
                ),
            )
        )

    async def pids(self, key: ContainerKey) -> Sequence[int]:
        return self._context.cgroups.pids(self._context.state(key).cgroup)

    async def stats(self, key: ContainerKey) -> CgroupStats:
        return self._context.cgroups.stats(self._context.state(key).cgroup)

    async def details(self, key: ContainerKey) -> ContainerDetails:
        cgroups, state = self._context.cgroups, self._context.state(key)

        def read() -> ContainerDetails:
            if not self._device:
                # A writable layer lies where the daemon's state does.
                self._device = device_of(self._context.settings.state_dir)
            pids = sorted(cgroups.pids(state.cgroup), key=lambda pid: pid != state.pid)
            try:
                filesystem = file_system(state.rootfs, self._device)
            except OSError as error:  # unmounted: it has just ended
                raise NotFound("container", key.id) from error
            return ContainerDetails(
                cgroups.details(state.cgroup), process_figures(pids), filesystem
            )

        return await asyncio.to_thread(read)

    async def parent_stats(self, parent: str) -> CgroupStats:
        cgroups = self._context.cgroups
        return cgroups.stats(cgroups.parent_path(parent))

    async def network_stats(self, pid: int) -> Sequence[NetworkStats]:
        return self._context.cgroups.network_stats(pid)

    async def runtime_spec(self, key: ContainerKey) -> Mapping[str, Any]:
        try:
            return await asyncio.to_thread(load_spec, self._context.layout.bundle(key))
        except FileNotFoundError as error:
            raise NotFound("bundle of container", key.id) from error

    async def reopen_log(self, key: ContainerKey) -> None:
        """Returns once the new file is there.

        Raises:
            NotFound: the log's folder is gone (conmon would die of it). FailedPrecondition: not running.
            DeadlineExceeded.
        """
        state = self._context.state(key)
        if not state.log_path:
            return
        if not Path(state.log_path).parent.is_dir():
            raise NotFound("log folder", str(Path(state.log_path).parent))
        before = inode_of(state.log_path)
        send_line(self._context.layout.bundle(key), reopen_log_line())
        await wait_for_new_file(state.log_path, before)

    async def attach(self, key: ContainerKey, *, tty: bool) -> AttachSession:
        """Raises FailedPrecondition when it has ended.

        Args:
            tty: what the client thinks; the session's own ``tty`` says what the container was created with.
        """
        state = self._context.state(key)

        async def exit_code() -> int:
            return (await self.wait(key, state.process)).exit_code

        async with self._joining.hold(key):
            hub = self._hubs.get(key)
            if hub is None:
                hub = AttachHub(
                    key.id,
                    self._context.layout.bundle(key),
                    state,
                    self._resizer(key),
                    lambda: self._forget_hub(key),
                )
                await hub.connect()
                self._hubs[key] = hub
            return hub.join(owner=not state.started, exit_code=exit_code)

    def _forget_hub(self, key: ContainerKey) -> None:
        self._hubs.pop(key, None)

    def _drop_hub(self, key: ContainerKey) -> None:
        if resizer := self._resizers.pop(key, None):
            resizer.close()
        if hub := self._hubs.pop(key, None):
            hub.close()

    async def resize(self, key: ContainerKey, width: int, height: int) -> None:
        if not self._context.state(key).tty:
            raise FailedPrecondition("container", key.id, "has no terminal")
        await self._resizer(key).resize(width, height)

    def _resizer(self, key: ContainerKey) -> Resizer:
        """The one of the container's terminal: only one can tell which size is the newest."""
        resizer = self._resizers.get(key)
        if resizer is None:
            resizer = self._resizers[key] = Resizer(self._context.layout.bundle(key))
        return resizer

    async def check_exec(self, key: ContainerKey, exec: ExecRecord) -> None:
        await self._exec_process(key, self._context.running(key), exec, None)

    async def _exec_process(
        self,
        key: ContainerKey,
        state: BundleState,
        exec: ExecRecord,
        size: tuple[int, int] | None,
    ) -> dict[str, Any]:
        base = await self._process(key)

        def render() -> dict[str, Any]:
            return record_process(
                base, exec,
                rootfs=Path(state.rootfs), bounding=self._context.facts.bounding, size=size,
            )  # fmt: skip

        return await asyncio.to_thread(render)

    async def _process(self, key: ContainerKey) -> dict[str, Any]:
        """What the container's first process was given. Raises FailedPrecondition: it has just ended."""
        try:
            return await asyncio.to_thread(load_process, self._context.layout.bundle(key))
        except FileNotFoundError as e:
            raise FailedPrecondition("container", key.id, "is not running") from e

    async def exec(
        self,
        key: ContainerKey,
        exec: ExecRecord,
        *,
        kill_on_close: bool,
        on_pid: Callable[[int], None] | None = None,
        size: tuple[int, int] | None = None,
    ) -> ExecSession:
        state = self._context.running(key)
        process = await self._exec_process(key, state, exec, size)
        wanted = {StdStream.STDOUT: exec.attach_stdout, StdStream.STDERR: exec.attach_stderr}
        session = await start_exec(
            self._launch(
                key, state, exec.id, process,
                stdin=exec.attach_stdin,
                streams=frozenset(stream for stream, on in wanted.items() if on),
                kill_on_close=kill_on_close,
            )
        )  # fmt: skip
        if on_pid is not None and session.process is not None:
            on_pid(session.process.pid)
        return session

    def _launch(
        self, key: ContainerKey, state: BundleState, exec_id: str, process: dict[str, Any],
        *, stdin: bool, streams: frozenset[StdStream], kill_on_close: bool,
    ) -> ExecLaunch:  # fmt: skip
        return ExecLaunch(
            conmon=require_program(self._context.settings.conmon),
            container_id=key.id,
            folder=self._context.layout.exec_dir(key, exec_id),
            state=state,
            process=process,
            stdin=stdin,
            streams=streams,
            kill_on_close=kill_on_close,
            timeout_s=self._context.settings.create_timeout_s,
            abandoned=self._abandoned,
        )

    async def exec_sync(
        self,
        key: ContainerKey,
        args: Sequence[str],
        *,
        timeout_s: float,
        limit_bytes: int = 16 << 20,
    ) -> ExecResult:
        state = self._context.running(key)
        base = await self._process(key)
        launch = self._launch(
            key, state, secrets.token_hex(16), exec_process(base, args=args),
            stdin=False, streams=frozenset((StdStream.STDOUT, StdStream.STDERR)), kill_on_close=True,
        )  # fmt: skip
        gathered = {StdStream.STDOUT: bytearray(), StdStream.STDERR: bytearray()}
        try:
            async with asyncio.timeout(timeout_s or None), await start_exec(launch) as session:
                while (output := await session.read()) is not None:
                    stream, data = output
                    room = limit_bytes - sum(map(len, gathered.values()))
                    gathered[stream] += data[: max(0, room)]
                code = await session.wait()
        except TimeoutError as e:
            raise DeadlineExceeded(f"command {' '.join(args)!r}", timeout_s) from e
        return ExecResult(
            code, bytes(gathered[StdStream.STDOUT]), bytes(gathered[StdStream.STDERR])
        )

    async def close(self) -> None:
        """Let go of everything; containers live on."""
        for hub in tuple(self._hubs.values()):
            hub.close()
        await self._abandoned.aclose()
