"""``containerd.services.images.v1``: names for what is in the content store.

In containerd an image is a name alone, and its client unpacks the layers through Snapshots and Diff. Here an image
is registered whole: Create chooses the platform's manifest, checks that its content is there and unpacks it, so
that every image of a namespace can be run through CRI and the Docker API as soon as it has a name. The client that
goes on to unpack asks Snapshots.Stat for each layer's chain id, finds all of them, and has nothing left to do
(snapshots.py). ``ctr images import``, ``pull`` and ``tag`` work in this order.

Names are normalized as Docker and CRI do (``busybox`` is ``docker.io/library/busybox:latest``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import NamespacedCalls, Service, refusal
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.edges.containerd.masks import label_change
from sharedrt.model.faults import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from sharedrt.model.ids import parse_digest
from sharedrt.model.records import Descriptor
from sharedrt.pb.codec import from_unix_ns, is_present
from sharedrt.pb.containerd import types
from sharedrt.pb.containerd.services.images import v1 as pb
from sharedrt.services.images import Image
from sharedrt.wire.containerd_filter import Fields
from sharedrt.wire.reference import parse_reference


@dataclass(frozen=True, slots=True)
class Named:
    """One reference, and the image as found by it."""

    name: str
    image: Image


class ImagesService(NamespacedCalls, Service, pb.ImagesBase):
    """One entry for each reference; an image without one is named by its id."""

    async def get(self, get_image_request: pb.GetImageRequest) -> pb.GetImageResponse:
        return pb.GetImageResponse(image=_render(self._find(get_image_request.name)))

    async def list(self, list_images_request: pb.ListImagesRequest) -> pb.ListImagesResponse:
        found = select(list(self._all()), list_images_request.filters, _fields)
        return pb.ListImagesResponse(images=[_render(named) for named in found])

    async def create(self, create_image_request: pb.CreateImageRequest) -> pb.CreateImageResponse:
        wanted = create_image_request.image
        name = _normalized(wanted.name)
        if self._named(name) is not None:
            raise AlreadyExists("image", name)
        return pb.CreateImageResponse(image=_render(await self._register(name, wanted)))

    async def update(self, update_image_request: pb.UpdateImageRequest) -> pb.UpdateImageResponse:
        """Point a name at another target, change its labels, or both."""
        wanted = update_image_request.image
        named = self._find(wanted.name)
        change, fields = label_change(
            update_image_request.update_mask, wanted.labels, other=("target",)
        )
        if fields and wanted.target.digest != named.image.target.digest:
            named = await self._register(named.name, wanted)
        labels = named.image.labels if change is None else change.apply(named.image.labels)
        if dict(labels) != dict(named.image.labels):
            raise refusal("Images.Update of labels")
        return pb.UpdateImageResponse(image=_render(named))

    async def delete(self, delete_image_request: pb.DeleteImageRequest) -> Empty:
        """Remove one name; with ``sync`` also, at once, what nothing needs any more."""
        named = self._find(delete_image_request.name)
        target = delete_image_request.target
        if is_present(target) and target is not None and target.digest != named.image.target.digest:
            raise FailedPrecondition("image", named.name, "has another target by now")
        images = self.here().images
        await images.drop_reference(named.name)
        if delete_image_request.sync:
            await images.gc()
        return Empty()

    async def _register(self, name: str, wanted: pb.Image) -> Named:
        target = wanted.target
        if target.size <= 0:
            raise InvalidArgument("target size", target.size, "must be greater than zero")
        descriptor = Descriptor(
            media_type=target.media_type,
            digest=parse_digest(target.digest),
            size=target.size,
            annotations=dict(target.annotations),
        )
        image = await self.here().images.register(name, descriptor)
        return self._named(name) or Named(name, image)

    def _all(self) -> Iterator[Named]:
        images = self.here().images
        for image in images.list():
            for name in image.references or (image.id,):
                yield Named(name, images.get(name))

    def _find(self, name: str) -> Named:
        """Raises NotFound: short ids are not looked for, as in containerd."""
        if (named := self._named(_normalized(name))) is None:
            raise NotFound("image", name)
        return named

    def _named(self, name: str) -> Named | None:
        try:
            image = self.here().images.get(name)
        except NotFound:
            return None
        known: Sequence[str] = (*image.references, image.id)
        return Named(name, image) if name in known else None


def _normalized(name: str) -> str:
    return name if name.startswith("sha256:") else str(parse_reference(name))


def _fields(named: Named) -> Fields:
    target = named.image.target
    return fields_of(
        {
            "name": named.name,
            "target.digest": target.digest,
            "target.mediatype": target.media_type,
        },
        {"labels": named.image.labels, "annotations": target.annotations},
    )


def _render(named: Named) -> pb.Image:
    image = named.image
    return pb.Image(
        name=named.name,
        labels=dict(image.labels),
        target=types.Descriptor(
            media_type=image.target.media_type,
            digest=image.target.digest,
            size=image.target.size,
            annotations=dict(image.target.annotations),
        ),
        created_at=from_unix_ns(image.created_ns),
        updated_at=from_unix_ns(image.updated_ns),
    )
