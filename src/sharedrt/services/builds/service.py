"""One namespace's builds: the door to them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from sharedrt.aio.completion import complete, run_blocking
from sharedrt.model.drivers import (
    Downloader,
    GitRepositories,
    HostFiles,
    LayerUnpacker,
    RootArchiver,
    Snapshotter,
    UserResolver,
    VolumeFolders,
)
from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.model.ids import ContainerId, Digest
from sharedrt.model.records import OperationRecord
from sharedrt.model.stores import NamespacedStore
from sharedrt.services.builds.arguments import Arguments, platform_arguments
from sharedrt.services.builds.bases import Bases
from sharedrt.services.builds.cache import BuildCache, CacheEntry
from sharedrt.services.builds.cache_images import CacheImages
from sharedrt.services.builds.context import BuildContext, ContextReader
from sharedrt.services.builds.copying import Copier
from sharedrt.services.builds.downloads import Downloads
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.events import BuildText, Tell, red
from sharedrt.services.builds.job import StageRunner, epoch_time
from sharedrt.services.builds.layers import BuildLayers
from sharedrt.services.builds.mounts import CacheFolders, RunMounts
from sharedrt.services.builds.output import OrderedOutput
from sharedrt.services.builds.plan import make_plan, with_labels
from sharedrt.services.builds.remotes import RemoteContexts
from sharedrt.services.builds.request import BuildRequest
from sharedrt.services.builds.running import OPERATION, Runner
from sharedrt.services.builds.stage import short
from sharedrt.services.builds.state import StageState
from sharedrt.services.builds.tools import Tools
from sharedrt.services.containers.files import ContainerFiles
from sharedrt.services.contracts import Containers
from sharedrt.services.events import NewEvent
from sharedrt.services.images import Composer, Image, Images
from sharedrt.services.layout import Layout
from sharedrt.services.logged import logged
from sharedrt.wire.dockerfile import (
    Dockerfile,
    DockerfileError,
    Expander,
    parse_dockerfile,
)
from sharedrt.wire.platforms import parse_platform
from sharedrt.wire.reference import parse_reference

__all__ = ["Builds", "CacheEntry"]

log = structlog.get_logger(__name__)

_MAX_BUILDS: Final = 16
_MAX_RUNS: Final = 16
"""Both at once, of one namespace; more wait."""


@dataclass(frozen=True, slots=True)
class BuildDrivers:
    """What builds need of the host beyond containers and images."""

    snapshotter: Snapshotter
    unpacker: LayerUnpacker
    archiver: RootArchiver
    users: UserResolver
    host: HostFiles
    folders: VolumeFolders
    downloader: Downloader
    git: GitRepositories


class Builds:
    """Of the namespace that ``store`` is bound to.

    Args:
        platform: this host's, ``linux/amd64``.
    """

    def __init__(
        self,
        layout: Layout,
        store: NamespacedStore,
        containers: Containers,
        files: ContainerFiles,
        images: Images,
        drivers: BuildDrivers,
        platform: str,
    ) -> None:
        self._layout, self._store = layout, store
        self._containers, self._files, self._images = containers, files, images
        self._drivers = drivers
        self._platform = parse_platform(platform)
        self.cache = BuildCache(layout, store, images, drivers.host, drivers.folders)
        self._caches = CacheFolders()
        self._contexts = ContextReader(drivers.archiver)
        self._remotes = RemoteContexts(
            self._contexts, drivers.archiver, drivers.downloader, drivers.git
        )
        self._slots = asyncio.Semaphore(_MAX_BUILDS)
        self._runs = asyncio.Semaphore(_MAX_RUNS)

    # ------------------------------------------------------------ build

    async def build(
        self, request: BuildRequest, context: AsyncIterator[bytes], tell: Tell
    ) -> Image:
        """Build an image. Cancelled, it leaves nothing but steps that are done, for later builds.

        Args:
            context: a tar, plain or compressed; not read when the request names a remote one.
            tell: what to show; awaited, so that a slow client makes the build wait.

        Raises:
            BuildFailed: in dockerd's words. PullFailed: of a base image. Faults of the disk and the like.
        """
        async with self._slots, self._folders() as (folder, run_folder):
            where = folder / "context"
            await self._drivers.host.make_folder(where)
            if request.remote:
                dockerfile = await self._remotes.fetch(request, where, folder)
            else:
                await self._contexts.unpack(context, where)
                dockerfile = request.dockerfile
            read = await self._contexts.read(where, dockerfile)
            parsed = await run_blocking(None, _parse, read.dockerfile)
            async with self._images.composing() as composer:
                return await self._run(request, read, parsed, composer, run_folder, tell)

    async def _run(
        self,
        request: BuildRequest,
        context: BuildContext,
        dockerfile: Dockerfile,
        composer: Composer,
        run_folder: Path,
        tell: Tell,
    ) -> Image:
        names = [str(parse_reference(tag)) for tag in request.tags]
        expander = Expander(dockerfile.directives.escape)
        arguments = Arguments(request.arguments, self._predefined(request))
        try:
            arguments.declare_global(dockerfile.arguments, expander.word)
        except DockerfileError as error:
            raise BuildFailed(error.message, malformed=True) from error
        plan = make_plan(dockerfile, request.target, arguments.in_from, expander.word)
        plan = with_labels(plan, request.labels)
        try:
            epoch, newest_ns = epoch_time(arguments.epoch)
        except ValueError as error:
            raise BuildFailed(
                f"invalid SOURCE_DATE_EPOCH: {arguments.epoch}", malformed=True
            ) from error
        output = OrderedOutput(plan.needed, tell)
        runner = StageRunner(plan, output)
        downloads = Downloads(
            self._drivers.downloader,
            self._drivers.git,
            self._drivers.host,
            context.root.rootfs.parent,
        )
        with self.cache.using() as use:
            layers = BuildLayers(
                self._layout,
                self._drivers.snapshotter,
                self._drivers.unpacker,
                composer,
                newest_ns,
            )
            tools = Tools(
                request=request,
                plan=plan,
                context=context,
                arguments=arguments,
                bases=Bases(self._images, composer, request, self._platform),
                cache=use,
                cache_images=CacheImages(self._cache_from(request), composer),
                composer=composer,
                layers=layers,
                copier=Copier(self._drivers.archiver, self._drivers.users, self._drivers.host),
                runner=Runner(
                    self._store,
                    self._containers,
                    self._files,
                    composer,
                    request.run,
                    newest_ns,
                    self._runs,
                    remove=request.remove,
                    force_remove=request.force_remove,
                ),
                mounts=RunMounts(
                    self._layout,
                    run_folder,
                    self._drivers.host,
                    self._drivers.folders,
                    self._drivers.archiver,
                    self._caches,
                    use,
                    request,
                ),
                download=downloads.get,
                checkout=downloads.checkout,
                stage=runner.result,
                epoch=epoch,
            )
            for warning in dockerfile.warnings:
                await tell(BuildText(red(f"[WARNING]: {warning}\n")))
            for number, step in enumerate(dockerfile.arguments, 1):
                await tell(BuildText(f"Step {number}/{plan.total} : {step.text}\n"))
            state = await runner.run(tools, plan.needed)
            if arguments.unused:
                unused = " ".join(arguments.unused)
                await tell(
                    BuildText(f"[Warning] One or more build-args [{unused}] were not consumed\n")
                )
            image = await self._finish(state, names, composer)
            await use.note_hits()
        await tell(BuildText(f"Successfully built {short(image.id)}\n"))
        for name in names:
            await tell(BuildText(f"Successfully tagged {parse_reference(name).familiar}\n"))
        return image

    def _predefined(self, request: BuildRequest) -> Mapping[str, str]:
        try:
            target = parse_platform(request.platform) if request.platform else self._platform
        except InvalidArgument as fault:
            raise BuildFailed(f'"{request.platform}": {fault.reason}', malformed=True) from fault
        return platform_arguments(target, self._platform, request.target)

    def _cache_from(self, request: BuildRequest) -> list[Image]:
        found = []
        for name in request.cache_from:
            try:
                found.append(self._images.get(name))
            except NotFound:
                log.info("no such image to take steps from", image=name)
        return found

    async def _finish(self, state: StageState, names: Sequence[str], composer: Composer) -> Image:
        image, further = state.image, names
        if image is None:
            image = await composer.finish(state.document, state.layers, names[:1], _event(names))
            further = names[1:]
        for name in further:
            image = await self._images.tag(image.id, name)
        return image

    @asynccontextmanager
    async def _folders(self) -> AsyncIterator[tuple[Path, Path]]:
        """A build's own folders, on disk and in memory, gone with the block."""
        name = secrets.token_hex(16)
        host = self._drivers.host
        folder, run_folder = self._layout.builds_root / name, self._layout.builds_run_root / name
        try:
            for path in (folder, run_folder):
                await host.make_folder(path.parent, mode=0o711)
                await host.make_folder(path, mode=0o711)
            yield folder, run_folder
        finally:
            await complete(host.remove_tree(run_folder))
            await complete(host.remove_tree(folder))

    # ------------------------------------------------------------ upkeep

    async def prune(
        self, choose: Callable[[CacheEntry], bool], *, keep_bytes: int = 0
    ) -> tuple[list[str], int]:
        """Remove those entries of the cache that are chosen and not in use, until the rest takes no more than
        ``keep_bytes``; ids and bytes gained."""
        entries = sorted(await self.cache.entries(), key=lambda entry: entry.last_used_ns)
        left = sum(entry.size_bytes for entry in entries if not entry.shared)
        doomed = []
        for entry in entries:
            if keep_bytes and left <= keep_bytes:
                break
            if choose(entry) and not entry.in_use:
                doomed.append(entry)
                left -= 0 if entry.shared else entry.size_bytes
        return await self.cache.remove(doomed)

    async def recover(self, operations: Iterable[OperationRecord]) -> None:
        """At start-up: no build has outlived the daemon. Containers, contexts and mount points of theirs go; what
        cannot be removed is logged, and tried again at the next start."""
        for operation in operations:
            if operation.kind == OPERATION:
                with logged("cannot remove a build's container", container=operation.subject):
                    await self._recover_run(operation)
        for root in (self._layout.builds_run_root, self._layout.builds_root):
            with logged("cannot remove a build's folders", path=str(root)):
                await self._drivers.host.remove_tree(root)
        await self.cache.recover()

    async def _recover_run(self, operation: OperationRecord) -> None:
        try:
            await self._containers.remove(ContainerId(operation.subject), force=True, volumes=True)
            log.info("removed an interrupted build's container", container=operation.subject)
        except NotFound:
            log.debug("an interrupted build had no container yet")
        await self._store.write(lambda tx: tx.operations.delete(operation.id))


def _event(names: Sequence[str]) -> Callable[[Digest], NewEvent]:
    """What tells of a new image: that it has its first name, if it has any."""

    def event(id: Digest) -> NewEvent:
        if not names:
            return NewEvent("image", "create", id, {"name": id})
        familiar = parse_reference(names[0]).familiar
        return NewEvent("image", "tag", id, {"name": familiar, "reference": names[0]})

    return event


def _parse(data: bytes) -> Dockerfile:
    try:
        return parse_dockerfile(data)
    except DockerfileError as error:
        raise BuildFailed(error.message, malformed=True) from error
