"""One stage: its steps, one after the other, each out of the cache or done."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sharedrt.model.drivers import GitRemote, RootView
from sharedrt.model.ids import Digest
from sharedrt.model.records import BuildStepRecord, Json
from sharedrt.services.builds import copying, running
from sharedrt.services.builds.arguments import Arguments
from sharedrt.services.builds.bases import Bases
from sharedrt.services.builds.cache import CacheUse, step_key
from sharedrt.services.builds.cache_images import CacheImages
from sharedrt.services.builds.configure import KINDS, NOP, Words, configure, shell_words
from sharedrt.services.builds.context import BuildContext
from sharedrt.services.builds.copying import Copier, CopyPlan, plan_copy
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.events import ImageBuilt
from sharedrt.services.builds.layers import BuildLayers
from sharedrt.services.builds.mounts import RunMounts
from sharedrt.services.builds.output import StageOutput
from sharedrt.services.builds.plan import Plan
from sharedrt.services.builds.request import BuildRequest
from sharedrt.services.builds.running import Runner, RunPlan
from sharedrt.services.builds.state import StageState, restored, with_default_path
from sharedrt.services.images import Composer, NewLayer
from sharedrt.wire.docker_time import format_time
from sharedrt.wire.dockerfile import DockerfileError, Stage, parse_trigger
from sharedrt.wire.dockerfile import instructions as i
from sharedrt.wire.dockerfile.heredocs import parse_heredoc
from sharedrt.wire.dockerfile.mounts import RunMount, parse_mount

SHORT = 12
Download = Callable[[str, str], Awaitable[tuple[RootView, str]]]
"""(URL, expected checksum): a folder with the one file, and its digest."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the stages of one build share."""

    request: BuildRequest
    plan: Plan
    context: BuildContext
    arguments: Arguments
    bases: Bases
    cache: CacheUse
    cache_images: CacheImages
    composer: Composer
    layers: BuildLayers
    copier: Copier
    runner: Runner
    mounts: RunMounts
    download: Download
    checkout: Callable[[GitRemote], Awaitable[RootView]]
    stage: Callable[[int], Awaitable[StageState]]
    """Another stage's result, however long it takes."""
    epoch: str | None
    """``SOURCE_DATE_EPOCH`` as RFC 3339 text."""


class StageBuilder:
    """Builds one stage."""

    def __init__(self, tools: Tools, stage: Stage, output: StageOutput) -> None:
        self._tools, self._stage, self._output = tools, stage, output
        self._escape = tools.plan.dockerfile.directives.escape
        self._declared: dict[str, str | None] = {}
        self._cmd_set = False
        self._last_key = ""

    async def build(self) -> StageState:
        """The stage's result. Raises BuildFailed and faults."""
        tools, plan = self._tools, self._tools.plan
        number, total = plan.first_number(self._stage.index), plan.total
        first = self._stage.steps[0]
        await self._output.say(f"Step {number}/{total} : {first.text}\n")
        state = await self._base()
        await self._output.say(f" ---> {short(state.id)}\n")
        state = await self._triggers(with_default_path(state))
        for offset, step in enumerate(self._stage.steps[1:], 1):
            await self._output.say(f"Step {number + offset}/{total} : {step.text}\n")
            state = await self._step(state, step)
            await self._output.say(f" ---> {short(state.id)}\n")
        if not state.id:
            raise BuildFailed("No image was generated. Is your Dockerfile empty?")
        if self._stage.index == plan.target.index or not tools.request.target:
            await self._output.tell(ImageBuilt(state.id))
        return state

    async def _base(self) -> StageState:
        plan, index = self._tools.plan, self._stage.index
        if (earlier := plan.base_stage(index)) is not None:
            return await self._tools.stage(earlier.index)
        return await self._tools.bases.state(plan.bases[index], plan.platforms[index], self._output)

    async def _triggers(self, state: StageState) -> StageState:
        """ONBUILD instructions of the image that the stage begins with: each is done once, here."""
        triggers = [str(text) for text in state.config.get("OnBuild") or ()]
        if not triggers:
            return state
        config = {name: value for name, value in state.config.items() if name != "OnBuild"}
        state = replace(state, config=config)
        ending = "" if len(triggers) == 1 else "s"
        await self._output.say(f"# Executing {len(triggers)} build trigger{ending}\n")
        for text in triggers:
            try:
                step = parse_trigger(text)
            except DockerfileError as error:
                raise BuildFailed(f"ONBUILD trigger {text!r}: {error.reason}") from error
            state = await self._step(state, step)
            await self._output.say(f" ---> {short(state.id)}\n")
        return state

    async def _step(self, state: StageState, step: i.Step) -> StageState:
        try:
            return await self._do(state, step.instruction)
        except DockerfileError as error:
            raise BuildFailed(DockerfileError(error.reason, step.line).message) from error

    async def _do(self, state: StageState, instruction: i.AnyInstruction) -> StageState:
        match instruction:
            case i.Arg():
                return await self._arg(state, instruction)
            case i.Maintainer(name):
                name = self._words(state).one(name)
                return await self._configured(state, f"{NOP} MAINTAINER {name}", author=name)
            case i.Run():
                return await self._run(state, instruction)
            case i.Copy():
                return await self._copy(state, instruction)
            case i.Workdir():
                return await self._workdir(state, instruction)
            case i.From():
                raise BuildFailed("FROM isn't allowed as an ONBUILD trigger")
            case _:
                assert isinstance(instruction, KINDS)
                config, shown = configure(state.config, instruction, self._words(state))
                if isinstance(instruction, i.Cmd):
                    self._cmd_set = True
                elif isinstance(instruction, i.Entrypoint) and not self._cmd_set:
                    config.pop("Cmd", None)  # it was the base image's, for its own entrypoint
                return await self._configured(state, shown, config=config)

    # ------------------------------------------------------------ variables

    def _arguments(self) -> dict[str, str]:
        return {name: value for name, value in self._declared.items() if value is not None}

    def _words(self, state: StageState) -> Words:
        return Words(self._escape, {**self._arguments(), **state.env})

    async def _arg(self, state: StageState, arg: i.Arg) -> StageState:
        shown = []
        for name, default in arg.pairs:
            words = self._words(state)
            name = words.one(name)
            default = None if default is None else words.one(default)
            self._declared[name] = self._tools.arguments.value(name, default)
            shown.append(name if default is None else f"{name}={default}")
        return await self._configured(state, f"{NOP} ARG {' '.join(shown)}")

    # ------------------------------------------------------------ cached steps

    def _created(self) -> str:
        return self._tools.epoch or format_time(time.time_ns())

    async def _hit(self, state: StageState, key: str, description: str) -> StageState | None:
        """What the step led to before, if that is to be used."""
        if self._tools.request.no_cache:
            return None
        found: StageState | None = None
        record = await self._tools.cache.find(key)
        if record is not None:
            found = restored(state, record.config, record.layers)
            await self._tools.composer.keep(found.layers)
        else:
            found = await self._tools.cache_images.after(state, description, state.config)
            if found is not None:
                await self._remember(key, state, found, description, new=True)
        if found is not None:
            self._last_key = key
            await self._output.say(" ---> Using cache\n")
        return found

    async def _remember(
        self, key: str, before: StageState, state: StageState, description: str, *, new: bool
    ) -> None:
        added = state.layers[-1] if new and len(state.layers) > len(before.layers) else None
        now = time.time_ns()
        record = BuildStepRecord(
            key=key,
            config=state.text,
            snapshot_key=state.chain[-1] if state.chain else None,
            layers=tuple(layer.blob for layer in state.layers),
            description=description,
            parent=self._last_key if self._last_key != key else "",
            size_bytes=added.blob.size if added is not None else 0,
            created_ns=now,
            last_used_ns=now,
        )
        await self._tools.cache.put(
            record, state.layers, self._tools.composer, new=added is not None
        )
        self._last_key = key

    async def _configured(
        self,
        state: StageState,
        description: str,
        *,
        config: Mapping[str, Any] | None = None,
        author: str | None = None,
    ) -> StageState:
        """A step without a layer."""
        changed = state.config if config is None else config
        key = step_key(state.id, dict(state.config), "config", description, dict(changed))
        found = await self._hit(replace(state, config=changed), key, description)
        if found is not None:
            return found
        after = state.after(self._created(), description, config=config, author=author)
        await self._remember(key, state, after, description, new=False)
        return after

    async def _layered(
        self,
        state: StageState,
        key: str,
        description: str,
        layer: NewLayer | None,
        config: Mapping[str, Any] | None = None,
    ) -> StageState:
        """A step with a layer, which has been written."""
        after = state.after(self._created(), description, config=config, layer=layer)
        if len(after.layers) > len(state.layers):
            await self._tools.layers.keep(after)
        await self._remember(key, state, after, description, new=True)
        return after

    # ------------------------------------------------------------ WORKDIR

    async def _workdir(self, state: StageState, workdir: i.Workdir) -> StageState:
        config, description = configure(state.config, workdir, self._words(state))
        key = step_key(state.id, dict(state.config), "workdir", description)
        if (found := await self._hit(replace(state, config=config), key, description)) is not None:
            return found
        layer = None
        async with self._tools.layers.writable(state) as pad:
            if await self._tools.copier.make_folder(pad, str(config["WorkingDir"])):
                layer = await self._tools.layers.finish(pad.layer)
        return await self._layered(state, key, description, layer, config)

    # ------------------------------------------------------------ COPY and ADD

    async def _copy(self, state: StageState, copy: i.Copy) -> StageState:
        plan = plan_copy(copy, self._words(state), state.working_dir, self._escape)
        async with AsyncExitStack() as stack:
            source: RootView | None = None
            quick = ""
            if plan.from_:
                other = await self._other(plan.from_)
                # While the other stage is the same, so is what is copied from it: it need not be read.
                quick = step_key(state.id, dict(state.config), "copy", other.id, *_facts(plan))
                record = (
                    None if self._tools.request.no_cache else await self._tools.cache.find(quick)
                )
                if record is not None:
                    found = restored(state, record.config, record.layers)
                    await self._tools.composer.keep(found.layers)
                    await self._output.say(" ---> Using cache\n")
                    return found
                root, _ = await stack.enter_async_context(self._tools.layers.mounted(other))
                source = RootView(root)
            elif plan.files:
                source = self._tools.context.root
            after = await self._copied(state, plan, source)
            if quick:
                await self._remember(quick, state, after, str(_created_by(after)), new=False)
            return after

    async def _copied(
        self,
        state: StageState,
        plan: CopyPlan,
        source: RootView | None,
    ) -> StageState:
        tools = self._tools
        surveyed = None
        if source is not None and plan.files:
            surveyed = await tools.copier.survey(plan, source)
        downloads = {url: await tools.download(url, plan.checksum) for url in plan.urls}
        parts: list[Json] = [surveyed.digest if surveyed is not None else ""]
        parts += [digest for _, digest in downloads.values()]
        repositories = [await tools.checkout(git) for git in plan.gits]
        parts += [await tools.copier.repository_digest(view) for view in repositories]
        parts += [[name, content.hex()] for name, content in plan.heredocs]
        digest = step_key(*parts)
        single = plan.count == 1 and (surveyed is None or surveyed.count == 1)
        folder = surveyed is not None and surveyed.folders == 1
        description = copying.describe(
            plan, digest, ("dir" if folder else "file") if single else "multi"
        )
        key = step_key(state.id, dict(state.config), "copy", description, *_facts(plan))
        if (found := await self._hit(state, key, description)) is not None:
            return found
        async with tools.layers.writable(state) as pad:
            views = {url: view for url, (view, _) in downloads.items()}
            await tools.copier.copy(plan, pad, source, surveyed, views, repositories)
            layer = await tools.layers.finish(pad.layer)
        return await self._layered(state, key, description, layer)

    async def _other(self, name: str) -> StageState:
        """A stage (before this one) or an image that is copied from or mounted."""
        tools, plan = self._tools, self._tools.plan
        stage = plan.dockerfile.find(name, before=self._stage.index)
        if stage is not None:
            return await tools.stage(stage.index)
        if name.isdecimal():
            raise BuildFailed(f"invalid from flag value {name}: refers to an unknown stage")
        return await tools.bases.state(name, "", self._output)

    # ------------------------------------------------------------ RUN

    async def _run(self, state: StageState, run: i.Run) -> StageState:
        tools, words = self._tools, self._words(state)
        argv = _argv(run, state, self._escape)
        mounts = [parse_mount(words.one(text)) for text in run.mounts]
        network, insecure = self._isolation(words, run)
        arguments = {n: v for n, v in self._arguments().items() if n not in state.env}
        description = running.describe(argv, arguments)
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
        if (found := await self._hit(state, key, description)) is not None:
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
                network=network,
                insecure=insecure,
                mounts=tuple(prepared.mounts),
                mount_points=points,
            )
            if script is not None:
                plan = await stack.enter_async_context(self._with_script(plan, script))
            layer = await tools.runner.run(state, plan, self._output)
        return await self._layered(state, key, description, layer)

    def _isolation(self, words: Words, run: i.Run) -> tuple[str, bool]:
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
        if mount.type.value != "bind":
            return ""
        if mount.from_:
            return (await self._other(mount.from_)).id
        return await self._tools.copier.digest(self._tools.context, mount.source or "/")

    @asynccontextmanager
    async def _root(self, name: str, writable: bool) -> AsyncIterator[Path]:
        if not name:
            async with self._tools.copier.context_copy(self._tools.context, writable) as root:
                yield root
            return
        other = await self._other(name)
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


def short(id: Digest) -> str:
    """Twelve hex digits."""
    return id.partition(":")[2][:SHORT]


def _facts(plan: CopyPlan) -> list[Json]:
    return [
        plan.name,
        list(plan.files),
        [name for name, _ in plan.heredocs],
        list(plan.urls),
        [[git.url, git.ref, git.folder, git.keep] for git in plan.gits],
        plan.target,
        plan.chown,
        plan.chmod,
        list(plan.exclude),
        plan.parents,
        plan.unpack,
    ]


def _created_by(state: StageState) -> Json:
    entry = state.history[-1] if state.history else None
    return entry.get("created_by") if isinstance(entry, dict) else ""


def _argv(run: i.Run, state: StageState, escape: str) -> tuple[str, ...]:
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


def _script(run: i.Run, escape: str) -> tuple[str, bytes] | None:
    """(name, content) of a lone here-document that begins with ``#!``."""
    if len(run.heredocs) != 1 or parse_heredoc(run.command.text, escape) is None:
        return None
    content = run.heredocs[0].chomped
    if not content.startswith("#!"):
        return None
    return run.heredocs[0].name, content.encode("utf-8", "surrogateescape")
