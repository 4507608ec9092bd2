"""One stage: its steps, one after the other, each out of the cache or done."""

from dataclasses import replace

from sharedrt.model.ids import Digest
from sharedrt.services.builds.cache import step_key
from sharedrt.services.builds.configure import KINDS, Words, configure, nop
from sharedrt.services.builds.copy_step import CopySteps
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.events import ImageBuilt
from sharedrt.services.builds.output import StageOutput
from sharedrt.services.builds.run_step import RunSteps
from sharedrt.services.builds.state import StageState, with_default_path
from sharedrt.services.builds.steps import Steps
from sharedrt.services.builds.tools import Neighbours, Tools
from sharedrt.wire.dockerfile import DockerfileError, Stage, parse_trigger
from sharedrt.wire.dockerfile import instructions as i

SHORT = 12


class StageBuilder:
    """Builds one stage."""

    def __init__(self, tools: Tools, stage: Stage, output: StageOutput) -> None:
        self._tools, self._stage, self._output = tools, stage, output
        self._escape = tools.plan.dockerfile.directives.escape
        self._declared: dict[str, str | None] = {}
        self._cmd_set = False
        self._steps = Steps(tools, output)
        neighbours = Neighbours(tools, stage.index, output)
        self._copies = CopySteps(tools, self._steps, neighbours)
        self._runs = RunSteps(tools, self._steps, neighbours, output)

    async def build(self) -> StageState:
        """The stage's result. Raises BuildFailed and faults."""
        tools, plan = self._tools, self._tools.plan
        number, total = plan.first_number(self._stage.index), plan.total
        first = self._stage.steps[0]
        await self._output.say(f"Step {number}/{total} : {first.text}\n")
        state = await self._base()
        state = await self._triggers(with_default_path(state))
        await self._output.say(f" ---> {short(state.id)}\n")
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
                return await self._steps.configured(
                    state, f"{nop(state.config)} MAINTAINER {name}", author=name
                )
            case i.Run():
                return await self._runs.do(
                    state, instruction, self._words(state), self._arguments()
                )
            case i.Copy():
                return await self._copies.do(state, instruction, self._words(state))
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
                return await self._steps.configured(state, shown, config=config)

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
        return await self._steps.configured(state, f"{nop(state.config)} ARG {' '.join(shown)}")

    # ------------------------------------------------------------ WORKDIR

    async def _workdir(self, state: StageState, workdir: i.Workdir) -> StageState:
        config, description = configure(state.config, workdir, self._words(state))
        key = step_key(state.id, dict(state.config), "workdir", description)
        if (
            found := await self._steps.hit(replace(state, config=config), key, description)
        ) is not None:
            return found
        layer = None
        async with self._tools.layers.writable(state) as pad:
            if await self._tools.copier.make_folder(pad, str(config["WorkingDir"])):
                layer = await self._tools.layers.finish(pad.layer)
        return await self._steps.layered(state, key, description, layer, config)


def short(id: Digest) -> str:
    """Twelve hex digits."""
    return id.partition(":")[2][:SHORT]
