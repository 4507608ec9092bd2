"""RUN as a step of a stage."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sharedrt.model.drivers import RootView
from sharedrt.model.records import Json
from sharedrt.services.builds.cache import step_key
from sharedrt.services.builds.configure import Words, shell_words
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.output import StageOutput
from sharedrt.services.builds.running import RunPlan, describe
from sharedrt.services.builds.state import StageState
from sharedrt.services.builds.steps import Steps
from sharedrt.services.builds.tools import Neighbours, Tools
from sharedrt.wire.dockerfile.heredocs import parse_heredoc
from sharedrt.wire.dockerfile.instructions import Run
from sharedrt.wire.dockerfile.mounts import MountType, RunMount, parse_mount


class RunSteps:
    """Of one stage."""

    def __init__(
        self, tools: Tools, steps: Steps, neighbours: Neighbours, output: StageOutput
    ) -> None:
        self._tools, self._steps, self._neighbours = tools, steps, neighbours
        self._output = output
        self._escape = tools.plan.dockerfile.directives.escape

    async def do(
        self, state: StageState, run: Run, words: Words, declared: Mapping[str, str]
    ) -> StageState:
        """``declared``: arguments of this stage that have a value."""
        tools = self._tools
        argv = _argv(run, state, self._escape)
        mounts = [parse_mount(words.one(text)) for text in run.mounts]
        network, insecure = self._isolation(words, run)
        arguments = {n: v for n, v in declared.items() if n not in state.env}
        description = describe(argv, arguments)
        others = [await self._mounted_id(mount) for mount in mounts]
        key = step_key(
            state.id,
            dict(state.config),
            "run",
            description,
            [words.one(text) for text in run.mounts],
            others,
            network,
            insecure,
            [[heredoc.name, heredoc.content] for heredoc in run.heredocs],
        )
        if (found := await self._steps.hit(state, key, description)) is not None:
            return found
        async with AsyncExitStack() as stack:
            prepared = await stack.enter_async_context(
                tools.mounts.prepared(mounts, state.working_dir, self._root)
            )
            script = _script(run, self._escape)
            points = await self._missing(state, [mount.target for mount in prepared.mounts])
            plan = RunPlan(
                argv=argv,
                env={**tools.arguments.proxies, **arguments, **prepared.env},
                secrets=prepared.secrets,
                network=network,
                insecure=insecure,
                mounts=tuple(prepared.mounts),
                mount_points=points,
            )
            if script is not None:
                plan = await stack.enter_async_context(self._with_script(plan, script))
            layer = await tools.runner.run(state, plan, self._output)
        return await self._steps.layered(state, key, description, layer)

    def _isolation(self, words: Words, run: Run) -> tuple[str, bool]:
        network, security = words.one(run.network), words.one(run.security)
        if network not in ("", "default", "none", "host"):
            raise BuildFailed(f"invalid network mode {network!r}")
        if security not in ("", "sandbox", "insecure"):
            raise BuildFailed(f"security {security!r} is not valid")
        if security == "insecure" and not self._tools.request.allow_insecure:
            raise BuildFailed("RUN --security=insecure is not allowed by the policy of this daemon")
        return network, security == "insecure"

    async def _mounted_id(self, mount: RunMount) -> Json:
        """What a bind mount shows is part of what a RUN depends on."""
        if mount.type is not MountType.BIND:
            return ""
        if mount.from_:
            return (await self._neighbours.state(mount.from_)).id
        return await self._tools.copier.digest(self._tools.context, mount.source or "/")

    @asynccontextmanager
    async def _root(self, name: str, writable: bool) -> AsyncIterator[Path]:
        if not name:
            async with self._tools.copier.context_copy(self._tools.context, writable) as root:
                yield root
            return
        other = await self._neighbours.state(name)
        async with self._tools.layers.mounted(other, readonly=not writable) as (root, _):
            yield root

    async def _missing(self, state: StageState, targets: list[str]) -> list[str]:
        """Paths down to the mounts that the image does not have: a runtime makes them."""
        if not targets:
            return []
        async with self._tools.layers.mounted(state) as (root, _):
            return await self._tools.copier.missing(RootView(root), targets)

    @asynccontextmanager
    async def _with_script(
        self, plan: RunPlan, script: tuple[str, bytes]
    ) -> AsyncIterator[RunPlan]:
        """A here-document that says itself who runs it."""
        async with self._tools.mounts.script(*script) as mount:
            yield replace(
                plan,
                argv=(mount.target,),
                mounts=(*plan.mounts, mount),
                mount_points=(*plan.mount_points, "dev/pipes", mount.target.strip("/")),
            )


def _argv(run: Run, state: StageState, escape: str) -> tuple[str, ...]:
    """What is run; here-documents go to the shell as they are written, a lone one as its script."""
    if not run.heredocs or run.command.words is not None:
        return tuple(shell_words(run.command, state.shell))
    lone = parse_heredoc(run.command.text, escape)
    text = run.command.text
    if lone is not None:
        text = run.heredocs[0].chomped
    else:
        for heredoc in run.heredocs:
            text += f"\n{heredoc.content}{heredoc.name}"
    return (*state.shell, text)


def _script(run: Run, escape: str) -> tuple[str, bytes] | None:
    """(name, content) of a lone here-document that begins with ``#!``."""
    if len(run.heredocs) != 1 or parse_heredoc(run.command.text, escape) is None:
        return None
    content = run.heredocs[0].chomped
    if not content.startswith("#!"):
        return None
    return run.heredocs[0].name, content.encode("utf-8", "surrogateescape")
