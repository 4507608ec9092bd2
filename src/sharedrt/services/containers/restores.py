"""Archives to containers: what CreateContainer unpacks, and StartContainer restores from."""

import posixpath
from collections.abc import Sequence
from pathlib import Path

from sharedrt.model.drivers import CheckpointArchives, HostFiles, OciRuntime
from sharedrt.model.faults import FailedPrecondition, InvalidArgument, NotFound
from sharedrt.model.ids import ContainerId
from sharedrt.services.images import Image, Images
from sharedrt.services.layout import Layout
from sharedrt.wire import checkpoint as wire


class Restores:
    """Unpacks archives for containers that are to be restored from them."""

    def __init__(
        self,
        layout: Layout,
        images: Images,
        runtime: OciRuntime,
        archives: CheckpointArchives,
        host: HostFiles,
    ) -> None:
        self._layout = layout
        self._images = images
        self._runtime = runtime
        self._archives = archives
        self._host = host

    async def image(self, archive: Path, *, handler: str, targets: Sequence[str]) -> Image:
        """The image that the archive's container was made from; pulled, without credentials, if it is not there.

        Args:
            handler: of the container to be; empty: the default one.
            targets: where that one has something of the host mounted.

        Raises:
            NotFound: the archive, or its image. InvalidArgument: no archive, or one whose mounts are not asked for.
            FailedPrecondition: of another OCI runtime, or CRIU cannot serve here. And what a pull raises.
        """
        documents = await self._archives.documents(archive, (wire.CONFIG, wire.SPEC))
        try:
            config = wire.parse_config(documents[wire.CONFIG])
            bound = wire.bind_targets(documents[wire.SPEC])
        except wire.CheckpointError as error:
            raise InvalidArgument("checkpoint archive", str(archive), str(error)) from error
        if missing := [target for target in bound if posixpath.normpath(target) not in targets]:
            raise InvalidArgument(
                "mounts",
                missing[0],
                "was mounted when the checkpoint was taken, and has to be again",
            )
        handler = handler or self._runtime.default_handler
        if config.runtime in self._runtime.handlers() and config.runtime != handler:
            raise FailedPrecondition(
                "runtime handler", handler, f"the checkpoint was made by {config.runtime!r}"
            )
        await self._runtime.require_checkpoints(handler)
        for name in config.image_names:
            try:
                return self._images.get(name)
            except NotFound:
                continue
        pullable = next((n for n in config.image_names if not n.startswith("sha256:")), "")
        if not pullable:
            raise NotFound("image", config.image_names[0])
        return await self._images.pull(pullable)

    async def unpack(self, archive: Path, id: ContainerId) -> None:
        """Into the container's own folder, before its row is there."""
        folder = self._folder(id)
        await self._host.make_folder(folder, mode=0o700)
        await self._archives.extract(archive, folder, (wire.ROOTFS_DIFF,), (wire.IMAGES,))

    async def forget(self, id: ContainerId) -> None:
        """It runs, or will never be: the archive's content is of no more use. Idempotent."""
        await self._host.remove_tree(self._folder(id))

    def images_folder(self, id: ContainerId) -> Path:
        return self._folder(id) / wire.IMAGES

    async def changes(self, id: ContainerId) -> Path | None:
        """The layer that is to lie over the image's; ``None`` when nothing was changed."""
        path = self._folder(id) / wire.ROOTFS_DIFF
        return path if await self._host.exists(path) else None

    def _folder(self, id: ContainerId) -> Path:
        return self._layout.container_state(id) / "restore"
