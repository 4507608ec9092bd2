"""``containerd.services.images.v1``: names for what is in the content store.

In containerd an image is a name alone, and its client unpacks the layers through Snapshots and Diff. Here an image
is registered whole: Create chooses the platform's manifest, checks that its content is there and unpacks it, so
that every image of a namespace can be run through CRI and the Docker API as soon as it has a name. The client that
goes on to unpack asks Snapshots.Stat for each layer's chain id, finds all of them, and has nothing left to do
(snapshots.py). ``ctr images import``, ``pull`` and ``tag`` work in this order.

Names are normalized as Docker and CRI do (``busybox`` is ``docker.io/library/busybox:latest``).
"""

import time

from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import NamespacedCalls, Service
from sharedrt.edges.containerd.envelopes import envelope
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.edges.containerd.masks import label_change
from sharedrt.edges.containerd.published import PublishedEvents
from sharedrt.model.faults import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from sharedrt.model.ids import parse_digest
from sharedrt.model.records import Descriptor, ImageRecord
from sharedrt.pb.codec import from_unix_ns, is_present
from sharedrt.pb.containerd import types
from sharedrt.pb.containerd.services.images import v1 as pb
from sharedrt.services.contracts import Runtime
from sharedrt.wire.containerd_filter import Fields
from sharedrt.wire.reference import parse_reference


class ImagesService(NamespacedCalls, Service, pb.ImagesBase):
    """One entry for each reference; an image that has none is named by its id."""

    def __init__(self, runtime: Runtime, published: PublishedEvents) -> None:
        super().__init__(runtime)
        self._published = published

    async def get(self, get_image_request: pb.GetImageRequest) -> pb.GetImageResponse:
        return pb.GetImageResponse(image=_render(self._find(get_image_request.name)))

    async def list(self, list_images_request: pb.ListImagesRequest) -> pb.ListImagesResponse:
        found = select(self.here().images.records(), list_images_request.filters, _fields)
        return pb.ListImagesResponse(images=[_render(record) for record in found])

    async def create(self, create_image_request: pb.CreateImageRequest) -> pb.CreateImageResponse:
        wanted = create_image_request.image
        name = _normalized(wanted.name)
        try:
            self._find(name)
        except NotFound:
            record = await self._register(name, wanted)
        else:
            raise AlreadyExists("image", name)
        if wanted.labels:
            record = await self.here().images.set_labels(name, wanted.labels)
        return pb.CreateImageResponse(image=_render(record))

    async def update(self, update_image_request: pb.UpdateImageRequest) -> pb.UpdateImageResponse:
        """Point a name at another target, change its labels, or both."""
        wanted = update_image_request.image
        record = self._find(wanted.name)
        change, fields = label_change(
            update_image_request.update_mask, wanted.labels, other=("target",)
        )
        if fields and wanted.target.digest != record.target.digest:
            record = await self._register(record.reference, wanted)
        labels = dict(record.labels) if change is None else change.apply(record.labels)
        if labels != dict(record.labels):
            here = self.here()
            record = await here.images.set_labels(record.reference, labels)
            message = pb.ImageUpdate(name=record.reference, labels=labels)
            told = envelope(here.namespace, time.time_ns(), "/images/update", message)
            self._published.publish(told)
        return pb.UpdateImageResponse(image=_render(record))

    async def delete(self, delete_image_request: pb.DeleteImageRequest) -> Empty:
        """Remove one name; with ``sync`` also, at once, what nothing needs any more."""
        record = self._find(delete_image_request.name)
        target = delete_image_request.target
        if is_present(target) and target is not None and target.digest != record.target.digest:
            raise FailedPrecondition("image", record.reference, "has another target by now")
        images = self.here().images
        await images.drop_reference(record.reference)
        if delete_image_request.sync:
            await images.gc()
        return Empty()

    async def _register(self, name: str, wanted: pb.Image) -> ImageRecord:
        target = wanted.target
        if target.size <= 0:
            raise InvalidArgument("target size", target.size, "must be greater than zero")
        descriptor = Descriptor(
            media_type=target.media_type,
            digest=parse_digest(target.digest),
            size=target.size,
            annotations=dict(target.annotations),
        )
        images = self.here().images
        await images.register(name, descriptor)
        return images.record(name)

    def _find(self, name: str) -> ImageRecord:
        """By its whole name alone, as in containerd. Raises NotFound."""
        return self.here().images.record(_normalized(name))


def _normalized(name: str) -> str:
    return name if name.startswith("sha256:") else str(parse_reference(name))


def _fields(record: ImageRecord) -> Fields:
    target = record.target
    return fields_of(
        {
            "name": record.reference,
            "target.digest": target.digest,
            "target.mediatype": target.media_type,
        },
        {"labels": record.labels, "annotations": target.annotations},
    )


def _render(record: ImageRecord) -> pb.Image:
    target = record.target
    return pb.Image(
        name=record.reference,
        labels=dict(record.labels),
        target=types.Descriptor(
            media_type=target.media_type,
            digest=target.digest,
            size=target.size,
            annotations=dict(target.annotations),
        ),
        created_at=from_unix_ns(record.created_ns),
        updated_at=from_unix_ns(record.updated_ns),
    )
