"""Images on the way out."""

from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.images import Image
from sharedrt.wire.go_numbers import MAX_INT64, parse_digits


def image(record: Image, *, pinned: bool) -> pb.Image:
    """As ListImages and ImageStatus show it. ``size`` is what a registry keeps, compressed."""
    rendered = pb.Image(
        id=record.id,
        repo_tags=list(record.repo_tags),
        repo_digests=list(record.repo_digests),
        size=record.content_size_bytes,
        pinned=pinned,
    )
    # The kubelet checks runAsNonRoot by these: a number, or else a name.
    user = record.config.user.partition(":")[0]
    if (uid := parse_digits(user, MAX_INT64)) is not None:
        rendered.uid = pb.Int64Value(value=uid)
    else:
        rendered.username = user
    return rendered
