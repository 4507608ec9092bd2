"""COPY and ADD as steps of a stage."""

from contextlib import AsyncExitStack

from sharedrt.model.drivers import RootView
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import Json
from sharedrt.services.builds.cache import step_key
from sharedrt.services.builds.configure import Words, nop
from sharedrt.services.builds.copy_plan import CopyPlan, describe, plan_copy
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.state import StageState
from sharedrt.services.builds.steps import Steps
from sharedrt.services.builds.tools import Neighbours, Tools
from sharedrt.wire.dockerfile.instructions import Copy


class CopySteps:
    """Of one stage."""

    def __init__(self, tools: Tools, steps: Steps, neighbours: Neighbours) -> None:
        self._tools, self._steps, self._neighbours = tools, steps, neighbours
        self._escape = tools.plan.dockerfile.directives.escape

    async def do(self, state: StageState, copy: Copy, words: Words) -> StageState:
        plan = plan_copy(copy, words, state.working_dir, self._escape)
        async with AsyncExitStack() as stack:
            source: RootView | None = None
            quick = ""
            if plan.from_:
                other = await self._neighbours.state(plan.from_)
                # While the other stage is the same, so is what is copied from it: it need not be read.
                quick = step_key(state.id, dict(state.config), "copy", other.id, *_facts(plan))
                if (found := await self._steps.find(quick, state)) is not None:
                    return found
                root, _ = await stack.enter_async_context(self._tools.layers.mounted(other))
                source = RootView(root)
            elif plan.files:
                source = self._tools.context.root
            after = await self._copied(state, plan, source)
            if quick:
                await self._steps.remember(quick, state, after, str(_created_by(after)), new=False)
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
        kind = ("dir" if folder else "file") if single else "multi"
        description = nop(state.config) + describe(plan, digest, kind)
        key = step_key(state.id, dict(state.config), "copy", description, *_facts(plan))
        if (found := await self._steps.hit(state, key, description)) is not None:
            return found
        async with tools.layers.writable(state) as pad:
            views = {url: view for url, (view, _) in downloads.items()}
            try:
                await tools.copier.copy(plan, pad, source, surveyed, views, repositories)
            except InvalidArgument as fault:
                raise BuildFailed(f"failed to copy files: {fault.value}: {fault.reason}") from fault
            layer = await tools.layers.finish(pad.layer)
        return await self._steps.layered(state, key, description, layer)


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
