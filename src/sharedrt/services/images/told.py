"""Events of images, with the attributes that dockerd gives them."""

from collections.abc import Mapping

from sharedrt.model.records import EventRecord
from sharedrt.services.events import NewEvent

REFERENCE = "reference"
"""An attribute of ours, for containerd's clients: the full reference, where the event concerns one."""


def image_event(
    action: str,
    actor: str,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    reference: str = "",
) -> NewEvent:
    """
    Args:
        actor: the image's id; for pulls and pushes the familiar reference.
        labels: the image's, which a filter for labels finds.
    """
    known = {REFERENCE: reference} if reference else {}
    return NewEvent("image", action, actor, {**(labels or {}), "name": name, **known})


def as_docker_tells(record: EventRecord) -> dict[str, str]:
    """The attributes of an event without ours."""
    attributes = dict(record.attributes)
    if record.kind == "image":
        attributes.pop(REFERENCE, None)
    return attributes
