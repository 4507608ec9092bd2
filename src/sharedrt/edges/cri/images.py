"""ImageService."""

import json
import time
from collections.abc import AsyncIterator, Sequence

from sharedrt.edges.cri import render_image
from sharedrt.edges.cri.chunks import chunks
from sharedrt.edges.cri.context import CriContext
from sharedrt.edges.cri.render_stats import filesystem
from sharedrt.edges.cri.translate_auth import credentials_of
from sharedrt.model.faults import InUse, InvalidArgument, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import ContainerRecord
from sharedrt.model.spec import MountKind
from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.images import Image


class ImageService(pb.ImageServiceBase):
    """runtime.v1.ImageService."""

    def __init__(self, context: CriContext) -> None:
        self.context = context
        self.images = context.services.images

    async def list_images(self, list_images_request: pb.ListImagesRequest) -> pb.ListImagesResponse:
        images = self._select(list_images_request.filter)
        return pb.ListImagesResponse(images=[self._render(image) for image in images])

    async def stream_images(
        self, stream_images_request: pb.StreamImagesRequest
    ) -> AsyncIterator[pb.StreamImagesResponse]:
        for group in chunks(self._select(stream_images_request.filter)):
            yield pb.StreamImagesResponse(images=[self._render(image) for image in group])

    def _render(self, image: Image) -> pb.Image:
        return render_image.image(image, pinned=image in self.context.pins)

    def _select(self, filter: pb.ImageFilter) -> Sequence[Image]:
        name = filter.image.image
        return self._find(name) if name else self.images.list()

    def _find(self, name: str) -> Sequence[Image]:
        """The image, or none."""
        try:
            return [self.images.get(name)]
        except NotFound:
            return []

    async def image_status(
        self, image_status_request: pb.ImageStatusRequest
    ) -> pb.ImageStatusResponse:
        """An answer without an image when it is not here: that is how a kubelet asks."""
        request = image_status_request
        try:
            image = self.images.get(_named(request.image))
        except NotFound:
            return pb.ImageStatusResponse()
        return pb.ImageStatusResponse(
            image=self._render(image), info=_info(image) if request.verbose else {}
        )

    async def pull_image(self, pull_image_request: pb.PullImageRequest) -> pb.PullImageResponse:
        """Equal calls at the same time are one pull. The answer is the image's id."""
        request = pull_image_request
        name = _named(request.image)
        image = await self.images.pull(name, credentials=credentials_of(request.auth, name))
        return pb.PullImageResponse(image_ref=image.id)

    async def remove_image(
        self, remove_image_request: pb.RemoveImageRequest
    ) -> pb.RemoveImageResponse:
        """All names of the image. Idempotent.

        Raises:
            InUse: a container was made from it, whether it runs or not, or has it mounted.
        """
        name = _named(remove_image_request.image)
        try:
            image = self.images.get(name)
        except NotFound:
            return pb.RemoveImageResponse()
        if users := self._users(image.id):
            raise InUse("image", name, users)
        await self.images.remove_by_id(image.id)
        return pb.RemoveImageResponse()

    def _users(self, id: Digest) -> tuple[str, ...]:
        """Containers made from it, or that have it mounted."""
        containers = self.context.services.containers.list()
        return tuple(c.id for c in containers if c.image_id == id or self._mounts(c, id))

    def _mounts(self, record: ContainerRecord, id: Digest) -> bool:
        sources = (m.source for m in record.spec.mounts if m.kind is MountKind.IMAGE)
        return any(image.id == id for source in sources for image in self._find(source))

    async def image_fs_info(
        self, image_fs_info_request: pb.ImageFsInfoRequest
    ) -> pb.ImageFsInfoResponse:
        """Images and writable layers are on one file system."""
        usage = await self.images.disk_usage()
        rendered = filesystem(time.time_ns(), self.context.layers_mountpoint, usage)
        return pb.ImageFsInfoResponse(
            image_filesystems=[rendered], container_filesystems=[rendered]
        )


def _named(spec: pb.ImageSpec) -> str:
    if not spec.image:
        raise InvalidArgument("image.image", "", "must not be empty")
    return spec.image


def _info(image: Image) -> dict[str, str]:
    value = {"chainID": image.layers[0] if image.layers else "", "imageSpec": image.config.raw}
    return {"info": json.dumps(value)}
