"""What the stages of one build share, and how one of them gets at the others."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sharedrt.model.drivers import GitRemote, RootView
from sharedrt.services.builds.arguments import Arguments
from sharedrt.services.builds.bases import Bases
from sharedrt.services.builds.cache import CacheUse
from sharedrt.services.builds.cache_images import CacheImages
from sharedrt.services.builds.context import BuildContext
from sharedrt.services.builds.copying import Copier
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.layers import BuildLayers
from sharedrt.services.builds.mounts import RunMounts
from sharedrt.services.builds.output import StageOutput
from sharedrt.services.builds.plan import Plan
from sharedrt.services.builds.request import BuildRequest
from sharedrt.services.builds.running import Runner
from sharedrt.services.builds.state import StageState
from sharedrt.services.images import Composer

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


class Neighbours:
    """Stages and images that one stage copies from or mounts."""

    def __init__(self, tools: Tools, index: int, output: StageOutput) -> None:
        self._tools, self._index, self._output = tools, index, output

    async def state(self, name: str) -> StageState:
        """Of a stage before this one, or of an image. Raises BuildFailed."""
        tools, plan = self._tools, self._tools.plan
        stage = plan.dockerfile.find(name, before=self._index)
        if stage is not None:
            return await tools.stage(stage.index)
        if name.isdecimal():
            raise BuildFailed(f"invalid from flag value {name}: index out of bounds")
        return await tools.bases.state(name, "", self._output)
