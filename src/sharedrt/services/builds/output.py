"""What stages that run side by side tell, in the file's order: the first unfinished one live, the others later."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from sharedrt.services.builds.events import BuildEvent, BuildText, Tell

MAX_WAITING_BYTES: Final = 4 << 20
"""Of one stage that has to wait for its turn; what it says beyond is left out, and that is said."""
_CLIPPED: Final = f"[output clipped: over {MAX_WAITING_BYTES >> 20} MiB while another stage ran]\n"


class StageOutput:
    """One stage's voice."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._waiting: deque[BuildEvent] = deque()
        self._bytes = 0
        self._live = False
        self.done = False

    async def say(self, text: str) -> None:
        await self.tell(BuildText(text))

    async def tell(self, event: BuildEvent) -> None:
        if self._live:
            await self._tell(event)
            return
        size = len(event.text) if isinstance(event, BuildText) else 64
        if self._bytes > MAX_WAITING_BYTES:
            return
        self._bytes += size
        self._waiting.append(event)
        if self._bytes > MAX_WAITING_BYTES:
            self._waiting.append(BuildText(_CLIPPED))

    async def go_live(self) -> None:
        """Tell all that has waited; from then on everything at once."""
        while self._waiting:
            await self._tell(self._waiting.popleft())
        self._live = True


class OrderedOutput:
    """The outputs of a build's stages, by index."""

    def __init__(self, stages: Sequence[int], tell: Tell) -> None:
        self._stages = {index: StageOutput(tell) for index in sorted(stages)}
        self._order = sorted(stages)
        self._tell = tell
        self._turn = asyncio.Lock()

    def of(self, index: int) -> StageOutput:
        """Of a stage; one that was not planned (an ONBUILD trigger asked for it) has its turn in the file's order,
        too."""
        if index not in self._stages:
            self._stages[index] = StageOutput(self._tell)
            self._order = sorted(self._stages)
        return self._stages[index]

    async def advance(self) -> None:
        """Give the turn to the first stage that is not done. After the beginning, and each stage's end."""
        async with self._turn:
            for index in list(self._order):
                output = self._stages[index]
                await output.go_live()
                if not output.done:
                    return

    async def flush(self) -> None:
        """A stage has failed: tell all that others and itself have said."""
        async with self._turn:
            for index in list(self._order):
                await self._stages[index].go_live()
