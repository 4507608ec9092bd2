"""Layers that are written here: a root file system to put files on, and what has become of it."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sharedrt.aio.completion import complete
from sharedrt.model.drivers import LayerUnpacker, RootView, Snapshotter
from sharedrt.services.builds.state import StageState
from sharedrt.services.images import Composer, NewLayer
from sharedrt.services.layout import Layout

Sink = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scratchpad:
    """A writable root over a state's layers. ``layer`` writes what was changed as a layer's tar."""

    view: RootView
    layer: Callable[[Sink], Awaitable[None]]


class BuildLayers:
    """Of one build. Snapshots made here have no row: they go with the block, or with the next start-up."""

    def __init__(
        self,
        layout: Layout,
        snapshotter: Snapshotter,
        unpacker: LayerUnpacker,
        composer: Composer,
        newest_ns: int | None,
    ) -> None:
        self._layout, self._snapshotter, self._unpacker = layout, snapshotter, unpacker
        self._composer = composer
        self.newest_ns = newest_ns
        """``SOURCE_DATE_EPOCH``: no file is younger."""

    @asynccontextmanager
    async def writable(self, state: StageState) -> AsyncIterator[Scratchpad]:
        """The root file system after a step, to be changed."""
        async with self.mounted(state, readonly=False) as (root, directory):

            async def layer(sink: Sink) -> None:
                upper = self._snapshotter.upper_path(directory)
                await self._unpacker.diff(upper, sink, newest_ns=self.newest_ns)

            yield Scratchpad(RootView(root), layer)

    @asynccontextmanager
    async def mounted(
        self, state: StageState, *, readonly: bool = True
    ) -> AsyncIterator[tuple[Path, str]]:
        """A root file system's path, and the snapshot's name."""
        folders = await self._composer.unpack(state.layers)
        directory = self._layout.build_directory(secrets.token_hex(8))
        try:
            root = await self._snapshotter.mount(directory, folders, readonly=readonly)
            yield root, directory
        finally:
            await complete(self._snapshotter.remove_active(directory))

    async def finish(self, write: Callable[[Sink], Awaitable[None]]) -> NewLayer:
        """A layer out of its tar."""
        return await self._composer.layer(write)

    async def keep(self, state: StageState) -> None:
        """Have a new layer's folder."""
        await self._composer.unpack(state.layers)
