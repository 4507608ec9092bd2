"""Steps of a stage, as the cache remembers them: looked for before they are done, and written down afterwards."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sharedrt.model.records import BuildStepRecord
from sharedrt.services.builds.cache import step_key
from sharedrt.services.builds.output import StageOutput
from sharedrt.services.builds.state import StageState, restored
from sharedrt.services.builds.tools import Tools
from sharedrt.services.images import NewLayer
from sharedrt.wire.docker_time import format_time


class Steps:
    """Of one stage."""

    def __init__(self, tools: Tools, output: StageOutput) -> None:
        self._tools, self._output = tools, output
        self._last_key = ""

    def created(self) -> str:
        return self._tools.epoch or format_time(time.time_ns())

    async def hit(self, state: StageState, key: str, description: str) -> StageState | None:
        """What the step led to before, if that is to be used."""
        if (found := await self.find(key, state)) is not None or self._tools.request.no_cache:
            return found
        found = await self._tools.cache_images.after(state, description, state.config)
        if found is not None:
            await self.remember(key, state, found, description, new=True)
            await self._output.say(" ---> Using cache\n")
        return found

    async def find(self, key: str, state: StageState) -> StageState | None:
        """The same, by the key alone. A client that names images to take steps from trusts those and no others."""
        if self._tools.request.no_cache or self._tools.request.cache_from:
            return None
        if (record := await self._tools.cache.find(key)) is None:
            return None
        found = restored(state, record.config, record.layers)
        await self._tools.composer.keep(found.layers)
        self._last_key = key
        await self._output.say(" ---> Using cache\n")
        return found

    async def remember(
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

    async def configured(
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
        found = await self.hit(replace(state, config=changed), key, description)
        if found is not None:
            return found
        after = state.after(self.created(), description, config=config, author=author)
        await self.remember(key, state, after, description, new=False)
        return after

    async def layered(
        self,
        state: StageState,
        key: str,
        description: str,
        layer: NewLayer | None,
        config: Mapping[str, Any] | None = None,
    ) -> StageState:
        """A step with a layer, which has been written."""
        after = state.after(self.created(), description, config=config, layer=layer)
        if len(after.layers) > len(state.layers):
            await self._tools.layers.keep(after)
        await self.remember(key, state, after, description, new=True)
        return after
