"""The whole file: global arguments, and stages that refer to one another."""

from collections.abc import Sequence
from dataclasses import dataclass

from sharedrt.wire.dockerfile.directives import Directives
from sharedrt.wire.dockerfile.errors import DockerfileError, SyntaxFault
from sharedrt.wire.dockerfile.instructions import Arg, From, Step
from sharedrt.wire.dockerfile.lines import LogicalLine, read_lines
from sharedrt.wire.dockerfile.parse import parse_line


@dataclass(frozen=True, slots=True)
class Stage:
    """``steps`` begins with its FROM."""

    index: int
    start: From
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        return self.start.name


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """``arguments``: those before the first FROM."""

    directives: Directives
    arguments: tuple[Step, ...]
    stages: tuple[Stage, ...]
    warnings: tuple[str, ...] = ()
    """In dockerd's words."""

    def find(self, name: str, before: int | None = None) -> Stage | None:
        """The stage of a name (in any case) or of a number, among those before a stage; of two of one name the
        later."""
        earlier: Sequence[Stage] = self.stages[:before]
        for stage in reversed(earlier):
            if stage.name and stage.name == name.lower():
                return stage
        if name.isdecimal() and int(name) < len(earlier):
            return earlier[int(name)]
        return None


def parse_dockerfile(data: bytes) -> Dockerfile:
    """Raises DockerfileError: the first thing that is wrong, with its line."""
    directives, lines = read_lines(data)
    arguments: list[Step] = []
    stages: list[list[Step]] = []
    for line in lines:
        step = parse_line(line, directives.escape)
        if isinstance(step.instruction, From):
            stages.append([step])
        elif stages:
            stages[-1].append(step)
        elif isinstance(step.instruction, Arg):
            arguments.append(step)
        else:
            raise DockerfileError("no build stage in current context", step.line)
    if not stages:
        if not lines:
            raise SyntaxFault("file with no instructions")
        raise DockerfileError("no build stage in current context", lines[-1].number)
    return Dockerfile(
        directives,
        tuple(arguments),
        tuple(_stage(n, steps) for n, steps in enumerate(stages)),
        _warnings(lines),
    )


def _warnings(lines: Sequence[LogicalLine]) -> tuple[str, ...]:
    found = [f"Empty continuation line found in: {line.text}" for line in lines if line.gap]
    if found:
        found.append("Empty continuation lines will become errors in a future release.")
    return tuple(found)


def _stage(index: int, steps: Sequence[Step]) -> Stage:
    start = steps[0].instruction
    assert isinstance(start, From)
    return Stage(index, start, tuple(steps))


def parse_trigger(text: str) -> Step:
    """An image's ONBUILD trigger. Raises DockerfileError."""
    _, lines = read_lines(text.encode("utf-8", "surrogateescape"))
    if len(lines) != 1:
        raise DockerfileError(f"an ONBUILD trigger of {len(lines)} instructions")
    return parse_line(lines[0], "\\")
