"""Which stages a build needs, and what each of them waits for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sharedrt.services.builds.errors import BuildFailed
from sharedrt.wire.dockerfile import Dockerfile, DockerfileError, Stage
from sharedrt.wire.dockerfile.errors import quoted
from sharedrt.wire.dockerfile.instructions import Copy, Label, Run, Step
from sharedrt.wire.dockerfile.mounts import parse_mount

Expand = Callable[[str, Mapping[str, str]], str]


@dataclass(frozen=True, slots=True)
class Plan:
    """``needed``: indexes of stages, in the file's order. ``bases``: the image of each stage's FROM, substituted."""

    dockerfile: Dockerfile
    target: Stage
    needed: tuple[int, ...]
    bases: Mapping[int, str]
    platforms: Mapping[int, str]

    def base_stage(self, index: int) -> Stage | None:
        """The stage that another one begins with; ``None``: an image (or nothing) it is."""
        name = self.bases[index]
        return None if name.isdecimal() else self.dockerfile.find(name, before=index)

    def first_number(self, index: int) -> int:
        """Of the first step of a stage, counted from 1 over all that are needed."""
        return (
            1
            + len(self.dockerfile.arguments)
            + sum(len(self.dockerfile.stages[i].steps) for i in self.needed if i < index)
        )

    @property
    def total(self) -> int:
        """Of steps; arguments before the first FROM are counted, as dockerd does."""
        stages = sum(len(self.dockerfile.stages[index].steps) for index in self.needed)
        return len(self.dockerfile.arguments) + stages


def make_plan(
    dockerfile: Dockerfile, target: str, variables: Mapping[str, str], expand: Expand
) -> Plan:
    """Raises BuildFailed: no such target, or a FROM without an image."""
    wanted = dockerfile.find(target) if target else dockerfile.stages[-1]
    if wanted is None:
        raise BuildFailed(f"target stage {quoted(target)} could not be found", malformed=True)
    bases: dict[int, str] = {}
    platforms: dict[int, str] = {}
    for stage in dockerfile.stages[: wanted.index + 1]:
        try:
            bases[stage.index] = expand(stage.start.image, variables)
            platforms[stage.index] = expand(stage.start.platform, variables)
        except DockerfileError as error:
            line = stage.steps[0].line
            raise BuildFailed(
                DockerfileError(error.reason, line).message, malformed=True
            ) from error
        if not bases[stage.index]:
            raise BuildFailed(
                f"base name ({stage.start.image}) should not be blank", malformed=True
            )
    plan = Plan(dockerfile, wanted, (), bases, platforms)
    needed: set[int] = set()
    pending = [wanted.index]
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            pending += dependencies(plan, dockerfile.stages[index])
    return Plan(dockerfile, wanted, tuple(sorted(needed)), bases, platforms)


def dependencies(plan: Plan, stage: Stage) -> list[int]:
    """Stages that a stage begins with, copies from or mounts, as far as they are named without variables."""
    found: list[Stage | None] = []
    if (base := plan.base_stage(stage.index)) is not None:
        found.append(base)
    for step in stage.steps:
        match step.instruction:
            case Copy(from_=name) if name:
                found.append(plan.dockerfile.find(name, before=stage.index))
            case Run(mounts=mounts):
                for text in mounts:
                    try:
                        name = parse_mount(text).from_
                    except DockerfileError:
                        continue  # its variables are not known yet; the step itself will say
                    if name:
                        found.append(plan.dockerfile.find(name, before=stage.index))
            case _:
                continue
    return [other.index for other in found if other is not None]


def with_labels(plan: Plan, labels: Mapping[str, str]) -> Plan:
    """``--label`` is one more LABEL at the target's end, each."""
    if not labels:
        return plan
    target = plan.target
    last = target.steps[-1].line
    added = tuple(
        Step(Label(((_quoted(name), _quoted(value)),)), last, f"LABEL {name}={value}")
        for name, value in sorted(labels.items())
    )
    extended = replace(target, steps=(*target.steps, *added))
    stages = tuple(
        extended if stage.index == target.index else stage for stage in plan.dockerfile.stages
    )
    return replace(plan, dockerfile=replace(plan.dockerfile, stages=stages), target=extended)


def _quoted(text: str) -> str:
    """As a word in which nothing is substituted."""
    return "'" + text.replace("'", "'\"'\"'") + "'"
