"""Which of a namespace's rows nothing needs any more (containerd's rules, on our tables).

What is kept: all that images need; a container's configuration blob and the layers below every writable
snapshot; layers of the build cache; what an unexpired lease or a ``containerd.io/gc.root`` label names.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sharedrt.model.faults import InUse
from sharedrt.model.ids import Digest, SnapshotKey
from sharedrt.model.records import SnapshotKind, SnapshotRecord
from sharedrt.model.stores import Transaction

_ROOT_LABEL: Final = "containerd.io/gc.root"
_CONTENT: Final = "content"
_SNAPSHOTS: Final = "snapshots/"


@dataclass(slots=True)
class Roots:
    """Blobs and snapshots of one namespace."""

    digests: set[Digest]
    snapshots: set[SnapshotKey]


@dataclass(frozen=True, slots=True)
class Removed:
    """What has lost its row in this namespace: blobs, and folders of layers."""

    digests: tuple[Digest, ...]
    directories: tuple[str, ...]


def sweep(tx: Transaction, images: Roots, only: Roots | None, grace_s: float) -> Removed:
    """Delete the rows inside a transaction.

    Args:
        images: what images need.
        only: the candidates; ``None``: everything.
        grace_s: blobs younger than this are spared, when ``only`` does not name them.
    """
    now = time.time_ns()
    keep = Roots(set(images.digests), set(images.snapshots))
    for lease in tx.leases.list():
        if lease.expires_ns and lease.expires_ns <= now:
            tx.leases.delete(lease.id)
            continue
        for kind, name in lease.resources:
            if kind == _CONTENT:
                keep.digests.add(Digest(name))
            elif kind.startswith(_SNAPSHOTS):
                keep.snapshots.add(SnapshotKey(name))
    keep.digests |= {container.image_id for container in tx.containers.list()}
    for step in tx.build_steps.list():
        keep.digests |= {layer.digest for layer in step.layers}
        if step.snapshot_key is not None:
            keep.snapshots.add(step.snapshot_key)
    snapshots = _sweep_snapshots(tx, keep.snapshots, only.snapshots if only else None)
    digests = []
    for blob in tx.blobs.list():
        if blob.digest in keep.digests or _ROOT_LABEL in blob.labels:
            continue
        if only is not None and blob.digest not in only.digests:
            continue
        if only is None and blob.created_ns + grace_s * 1e9 > now:
            continue
        try:
            tx.blobs.revoke(blob.digest)
        except InUse:
            continue  # a row refers to it that came after the roots were gathered
        digests.append(blob.digest)
    return Removed(tuple(digests), tuple(record.directory for record in snapshots))


def _sweep_snapshots(
    tx: Transaction, keep: set[SnapshotKey], only: set[SnapshotKey] | None
) -> list[SnapshotRecord]:
    records = {record.key: record for record in tx.snapshots.list()}
    for record in records.values():
        if record.kind != SnapshotKind.COMMITTED or _ROOT_LABEL in record.labels:
            keep.add(record.key)
    kept = _with_ancestors(keep, records)
    doomed = {
        key: record
        for key, record in records.items()
        if key not in kept and (only is None or key in only)
    }
    # A parent goes after its children; one whose child is no candidate stays.
    parents = {record.parent for key, record in records.items() if key not in doomed}
    spared = _with_ancestors((key for key in parents if key is not None), records)
    order = sorted(
        (record for key, record in doomed.items() if key not in spared),
        key=lambda record: len(_with_ancestors([record.key], records)),
        reverse=True,
    )
    for record in order:
        tx.snapshots.delete(record.key)
    return order


def _with_ancestors(
    keys: Iterable[SnapshotKey], records: dict[SnapshotKey, SnapshotRecord]
) -> set[SnapshotKey]:
    found: set[SnapshotKey] = set()
    for key in keys:
        current: SnapshotKey | None = key
        while current is not None and current not in found and current in records:
            found.add(current)
            current = records[current].parent
    return found
