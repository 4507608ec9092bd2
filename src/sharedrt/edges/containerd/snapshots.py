"""``containerd.services.snapshots.v1``: the layers of images and containers, to look at.

Committed snapshots are the layers of the namespace's images, named by chain id as containerd's clients name them;
active ones are the containers' writable layers. Clients cannot make their own: layers are unpacked when an image
is registered (images.py), and mounts are the daemon's.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from betterproto.lib.google.protobuf import Empty

from sharedrt.edges.containerd.call import NamespacedCalls, Service, refusal
from sharedrt.edges.containerd.fields import fields_of, select
from sharedrt.edges.containerd.version import SNAPSHOTTER
from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.model.ids import ContainerId, SnapshotKey
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd.services.snapshots import v1 as pb
from sharedrt.wire.containerd_filter import Fields

_UNPACKED: Final = "layers are unpacked when an image is registered (Images.Create)"
_PER_MESSAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Layer:
    """``container``: whose writable layer it is; ``None`` for an image's."""

    name: str
    parent: str
    created_ns: int
    container: ContainerId | None = None


class SnapshotsService(NamespacedCalls, Service, pb.SnapshotsBase):
    """Reads images and containers; makes nothing."""

    async def stat(self, stat_snapshot_request: pb.StatSnapshotRequest) -> pb.StatSnapshotResponse:
        layer = self._find(stat_snapshot_request.snapshotter, stat_snapshot_request.key)
        return pb.StatSnapshotResponse(info=_render(layer))

    async def list(
        self, list_snapshots_request: pb.ListSnapshotsRequest
    ) -> AsyncIterator[pb.ListSnapshotsResponse]:
        _check_snapshotter(list_snapshots_request.snapshotter)
        found = select(list(self._layers().values()), list_snapshots_request.filters, _fields)
        for start in range(0, len(found), _PER_MESSAGE):
            part = found[start : start + _PER_MESSAGE]
            yield pb.ListSnapshotsResponse(info=[_render(layer) for layer in part])

    async def usage(self, usage_request: pb.UsageRequest) -> pb.UsageResponse:
        layer = self._find(usage_request.snapshotter, usage_request.key)
        here = self.here()
        if layer.container is None:
            usage = here.images.layer_usage(SnapshotKey(layer.name))
        else:
            usage = await here.containers.usage(layer.container)
        return pb.UsageResponse(size=usage.size_bytes, inodes=usage.inodes)

    async def prepare(
        self, prepare_snapshot_request: pb.PrepareSnapshotRequest
    ) -> pb.PrepareSnapshotResponse:
        raise refusal("Snapshots.Prepare", _UNPACKED)

    async def commit(self, commit_snapshot_request: pb.CommitSnapshotRequest) -> Empty:
        raise refusal("Snapshots.Commit", _UNPACKED)

    def _find(self, snapshotter: str, key: str) -> Layer:
        _check_snapshotter(snapshotter)
        if (layer := self._layers().get(key)) is None:
            raise NotFound("snapshot", key)
        return layer

    def _layers(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in (*self._of_images(), *self._of_containers())}

    def _of_images(self) -> Iterator[Layer]:
        for image in self.here().images.list():
            parents = (*image.layers[1:], "")
            for name, parent in zip(image.layers, parents, strict=True):
                yield Layer(name, parent, image.created_ns)

    def _of_containers(self) -> Iterator[Layer]:
        here = self.here()
        tops = {image.id: image.layers[0] for image in here.images.list() if image.layers}
        for record in here.containers.list():
            if record.snapshot_key is not None:
                parent = tops.get(record.image_id, "")
                yield Layer(record.snapshot_key, parent, record.created_ns, record.id)


def _check_snapshotter(name: str) -> None:
    if name not in ("", SNAPSHOTTER):
        raise InvalidArgument("snapshotter", name, f"the only one here is {SNAPSHOTTER}")


def _fields(layer: Layer) -> Fields:
    kind = "Committed" if layer.container is None else "Active"
    return fields_of({"kind": kind, "name": layer.name, "parent": layer.parent})


def _render(layer: Layer) -> pb.Info:
    return pb.Info(
        name=layer.name,
        parent=layer.parent,
        kind=pb.Kind.COMMITTED if layer.container is None else pb.Kind.ACTIVE,
        created_at=from_unix_ns(layer.created_ns),
        updated_at=from_unix_ns(layer.created_ns),
    )
