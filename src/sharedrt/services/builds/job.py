"""One build: its stages side by side as far as they do not need one another."""

import asyncio
import time
from collections.abc import Sequence

from sharedrt.aio.groups import task_group
from sharedrt.services.builds.output import OrderedOutput
from sharedrt.services.builds.plan import Plan
from sharedrt.services.builds.stage import StageBuilder
from sharedrt.services.builds.state import StageState
from sharedrt.services.builds.tools import Tools
from sharedrt.wire.docker_time import format_time


class StageRunner:
    """Starts each stage once, when the build begins or when another stage asks for it."""

    def __init__(self, plan: Plan, output: OrderedOutput) -> None:
        self._plan, self._output = plan, output
        self._tasks: dict[int, asyncio.Task[StageState]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tools: Tools | None = None

    async def run(self, tools: Tools, needed: Sequence[int]) -> StageState:
        """The target's result. Raises the first stage's failure; all others are ended then."""
        self._tools = tools
        try:
            async with task_group() as group:
                self._group = group
                for index in needed:
                    self._start(index)
                await self._output.advance()
        except Exception:
            await self._output.flush()
            raise
        return self._tasks[self._plan.target.index].result()

    async def result(self, index: int) -> StageState:
        """Of a stage, when it is done."""
        self._start(index)
        return await asyncio.shield(self._tasks[index])

    def _start(self, index: int) -> None:
        if index not in self._tasks:
            assert self._group is not None
            self._tasks[index] = self._group.create_task(self._build(index))

    async def _build(self, index: int) -> StageState:
        assert self._tools is not None
        output = self._output.of(index)
        stage = self._plan.dockerfile.stages[index]
        state = await StageBuilder(self._tools, stage, output).build()
        output.done = True
        await self._output.advance()
        return state


def epoch_time(text: str | None) -> tuple[str | None, int | None]:
    """``SOURCE_DATE_EPOCH``: as RFC 3339 text, and in nanoseconds. Raises ValueError."""
    if not text:
        return None, None
    seconds = int(text)
    if not 0 <= seconds < 1 << 33:
        raise ValueError("out of range")
    if not seconds:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(0)), 0
    return format_time(seconds * 1_000_000_000), seconds * 1_000_000_000
