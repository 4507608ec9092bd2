"""Images that stages begin with or copy from: found here, or pulled."""

import asyncio
from collections.abc import Mapping

from sharedrt.aio.groups import task_group
from sharedrt.aio.locks import KeyedLocks
from sharedrt.model.faults import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from sharedrt.services.builds.errors import BuildFailed, PullFailed
from sharedrt.services.builds.events import PullStep
from sharedrt.services.builds.output import StageOutput
from sharedrt.services.builds.request import BuildRequest
from sharedrt.services.builds.state import StageState, state_of
from sharedrt.services.images import Composer, Image, Images, PullPhase, PullProgress
from sharedrt.wire.platforms import Platform, fits, parse_platform
from sharedrt.wire.reference import parse_reference

SCRATCH = "scratch"


class Bases:
    """Of one build: each image is looked for once, and stays until the build is over."""

    def __init__(
        self, images: Images, composer: Composer, request: BuildRequest, platform: Platform
    ) -> None:
        self._images, self._composer, self._request = images, composer, request
        self._platform = platform
        self._locks = KeyedLocks()
        self._found: dict[tuple[str, str], StageState] = {}

    async def state(self, name: str, platform: str, output: StageOutput) -> StageState:
        """What an image is to begin with.

        Raises:
            BuildFailed: the name is none. Others as ``Images.pull``.
        """
        wanted = self._wanted(platform)
        if name == SCRATCH:
            return StageState(platform=wanted)
        key = (name, str(wanted))
        async with self._locks.hold(key):
            if key not in self._found:
                image = await self._image(name, platform or self._request.platform, output)
                layers = await self._composer.base(image)
                await self._images.ensure_unpacked(image)
                self._found[key] = state_of(image, tuple(layers))
            return self._found[key]

    def _wanted(self, platform: str) -> Platform:
        text = platform or self._request.platform
        try:
            return parse_platform(text) if text else self._platform
        except InvalidArgument as fault:
            raise BuildFailed(f'"{text}": {fault.reason}') from fault

    async def _image(self, name: str, platform: str, output: StageOutput) -> Image:
        try:
            reference = parse_reference(name)
        except InvalidArgument as fault:
            if (found := self._local(name, platform)) is not None:
                return found  # by id
            raise BuildFailed(f"invalid reference format: {fault.reason}") from fault
        if not self._request.pull and (found := self._local(name, platform)) is not None:
            return found
        return await self._pull(name, reference.domain, platform, output)

    def _local(self, name: str, platform: str) -> Image | None:
        try:
            image = self._images.get(name)
        except NotFound:
            return None
        if platform and not fits(image.config.platform, self._wanted(platform)):
            return None
        return image

    async def _pull(self, name: str, domain: str, platform: str, output: StageOutput) -> Image:
        reference = str(parse_reference(name))
        steps: dict[tuple[str, PullPhase], PullProgress] = {}
        news = asyncio.Event()

        def tell(progress: PullProgress) -> None:
            steps[progress.id, progress.phase] = progress  # of figures only the newest is told
            news.set()

        async def pass_on() -> None:
            while True:
                await news.wait()
                news.clear()
                await _tell_all(steps, reference, output)

        async with task_group() as group:
            passing = group.create_task(pass_on())
            try:
                image = await self._images.pull(
                    name,
                    credentials=self._request.credentials(domain),
                    platform=platform or None,
                    progress=tell,
                )
            except (NotFound, Unauthenticated, PermissionDenied) as fault:
                raise PullFailed(reference, fault) from fault
            passing.cancel()
        await _tell_all(steps, reference, output)
        return image


async def _tell_all(
    steps: dict[tuple[str, PullPhase], PullProgress], reference: str, output: StageOutput
) -> None:
    waiting: Mapping[tuple[str, PullPhase], PullProgress] = dict(steps)
    steps.clear()
    for progress in waiting.values():
        await output.tell(PullStep(reference, progress))
