"""RUN: a container on what the stage is so far, and a layer of what it changes."""

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from sharedrt.aio.completion import complete
from sharedrt.model.drivers import LogLine, LogQuery
from sharedrt.model.faults import Fault, NotFound, StartFailed
from sharedrt.model.ids import ContainerId, OperationId, new_id
from sharedrt.model.records import OperationRecord
from sharedrt.model.spec import Mount, NamespaceMode, NamespaceRef, Security, User
from sharedrt.model.stdio import StdStream
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.events import red
from sharedrt.services.builds.layers import Sink
from sharedrt.services.builds.output import StageOutput
from sharedrt.services.builds.request import RunTemplate
from sharedrt.services.builds.state import DEFAULT_PATH, StageState
from sharedrt.services.containers.files import ContainerFiles
from sharedrt.services.contracts import Containers, NewContainer
from sharedrt.services.images import Composer, NewLayer

log = structlog.get_logger(__name__)

OPERATION: Final = "build.run"
"""Kind of the intent that stands for a RUN's container: recovery removes what it names."""
_SHORT: Final = 12


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A RUN with all that it depends on. ``network``: empty, ``default``, ``none`` or ``host``."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Arguments and the like; the image's own variables win."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that no record may hold."""
    network: str = ""
    insecure: bool = False
    mounts: tuple[Mount, ...] = ()
    mount_points: Collection[str] = ()
    """Paths that are there for the mounts' sake alone, without a leading slash."""


class Runner:
    """Of one build.

    Args:
        newest_ns: no file of a layer is younger.
        slots: how many RUNs of all builds go on at a time.
    """

    def __init__(
        self,
        store: NamespacedStore,
        containers: Containers,
        files: ContainerFiles,
        composer: Composer,
        template: RunTemplate,
        newest_ns: int | None,
        slots: asyncio.Semaphore,
        *,
        remove: bool,
        force_remove: bool,
    ) -> None:
        self._store, self._containers, self._files = store, containers, files
        self._composer, self._template = composer, template
        self._newest_ns = newest_ns
        self._slots = slots
        self._remove, self._force_remove = remove, force_remove

    async def run(self, state: StageState, plan: RunPlan, output: StageOutput) -> NewLayer | None:
        """The layer, or ``None`` when nothing was changed. Raises BuildFailed when the command does not end well."""
        async with self._slots:
            return await self._run(state, plan, output)

    async def _run(self, state: StageState, plan: RunPlan, output: StageOutput) -> NewLayer | None:
        id = ContainerId(new_id())
        operation = OperationRecord(OperationId(new_id()), OPERATION, id)
        await self._store.write(lambda tx: tx.operations.add(operation))
        keep = False
        layer: NewLayer | None = None
        failure: BuildFailed | None = None
        try:
            # To its end even when cancelled, so that the removal below finds it.
            await complete(self._containers.create(self._request(id, state, plan)))
            await output.say(f" ---> Running in {id[:_SHORT]}\n")
            try:
                await self._watch(id, plan, output)
            except BuildFailed as error:
                failure = error
                keep = not self._force_remove
            else:
                layer = await self._layer(id, plan)
                keep = not self._remove
        finally:
            await complete(self._let_go(id, operation.id, keep))
        if not keep:
            await output.say(f" ---> Removed intermediate container {id[:_SHORT]}\n")
        if failure is not None:
            raise failure
        return layer

    async def _layer(self, id: ContainerId, plan: RunPlan) -> NewLayer | None:
        # Asked first, since folders that hold mount points look changed in a layer.
        if not await self._files.changes(id, ignored=plan.mount_points):
            return None

        async def write(sink: Sink) -> None:
            await self._files.layer(id, sink, exclude=plan.mount_points, newest_ns=self._newest_ns)

        return await self._composer.layer(write)

    async def _watch(self, id: ContainerId, plan: RunPlan, output: StageOutput) -> None:
        shown = " ".join(plan.argv)
        try:
            secrets = tuple(f"{name}={value}" for name, value in plan.secrets.items())
            with self._containers.private_env(id, secrets):
                await self._containers.start(id)
        except StartFailed as fault:
            raise BuildFailed(
                f"The command '{shown}' returned a non-zero code: {fault.exit_code}: {fault.reason}",
                fault.exit_code,
            ) from fault
        async for lines in self._containers.logs(id, LogQuery(follow=True)):
            for stream, some in itertools.groupby(lines, lambda line: line.stream):
                text = _text(some)
                await output.say(red(text) if stream == StdStream.STDERR else text)
        code = (await self._containers.wait(id)).exit_code
        if code:
            raise BuildFailed(f"The command '{shown}' returned a non-zero code: {code}", code)

    async def _let_go(self, id: ContainerId, operation: OperationId, keep: bool) -> None:
        if not keep:
            try:
                await self._containers.remove(id, force=True, volumes=True)
            except NotFound:
                pass  # it never was
            except Fault as fault:
                # The intent stays: recovery tries again.
                log.warning("cannot remove a build's container", container=id, error=str(fault))
                return
        await self._store.write(lambda tx: tx.operations.delete(operation))

    def _request(self, id: ContainerId, state: StageState, plan: RunPlan) -> NewContainer:
        template = self._template
        own = state.env
        env = {**{n: v for n, v in plan.env.items() if n not in own}, **own}
        name, _, path = DEFAULT_PATH.partition("=")
        env = {name: path, "HOSTNAME": id[:_SHORT], **env}
        spec = replace(
            template.spec,
            command=plan.argv[:1],
            args=plan.argv[1:],
            env=tuple(f"{name}={value}" for name, value in env.items()),
            cwd=state.working_dir,
            user=User(name=str(state.config.get("User") or "")),
            hostname=id[:_SHORT],
            mounts=plan.mounts,
        )
        if plan.insecure:
            spec = replace(spec, security=Security(privileged=True))
        networks = template.networks
        if plan.network in ("none", "host"):
            mode = NamespaceMode.HOST if plan.network == "host" else NamespaceMode.PRIVATE
            spec = replace(spec, namespaces=replace(spec.namespaces, network=NamespaceRef(mode)))
            networks = ()
        return NewContainer(
            name=f"build-{id[:_SHORT]}",
            image=str(state.id or "scratch"),
            base=state.as_image(),
            spec=spec,
            id=id,
            networks=networks,
            dns=template.dns,
            extra_hosts=template.extra_hosts,
        )


def _text(lines: Iterable[LogLine]) -> str:
    joined = b"".join(line.data if line.partial else line.data + b"\n" for line in lines)
    return joined.decode(errors="replace")


def describe(argv: Sequence[str], arguments: Mapping[str, str]) -> str:
    """As the history shows it: ``|1 NAME=value /bin/sh -c command``."""
    command = " ".join(argv)
    if not arguments:
        return command
    pairs = " ".join(f"{name}={value}" for name, value in sorted(arguments.items()))
    return f"|{len(arguments)} {pairs} {command}"
