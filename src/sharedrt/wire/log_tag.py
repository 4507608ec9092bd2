"""Docker's ``tag`` log option: text with the container's facts in it, as ``{{.Name}}/{{.ID}}``.

Docker takes any Go template. Here it is the fields alone, which is what tags are made of; all else is refused.
Source: Docker documentation, "Customize log driver output".
"""

import re
from collections.abc import Mapping
from typing import Final

from sharedrt.model.records import ContainerRecord

DEFAULT_TAG: Final = "{{.ID}}"
FIELDS: Final = frozenset(
    [
        "ID",
        "FullID",
        "Name",
        "ImageID",
        "ImageFullID",
        "ImageName",
        "DaemonName",
    ]
)

MAX_TAG: Final = 1024
_SHORT: Final = 12
_ACTION: Final = re.compile(r"\{\{-?((?:[^}]|\}(?!\}))*)\}\}")


class TagError(ValueError):
    """A template that is not understood; its text says which part."""


def check_tag(template: str) -> None:
    """Raises TagError."""
    if len(template) > MAX_TAG:
        raise TagError(f"log tag: longer than {MAX_TAG} characters")
    for inside in _ACTION.findall(template):
        action = _bare(inside)
        if not action.startswith(".") or action[1:] not in FIELDS:
            raise TagError(f"log tag: {{{{{action}}}}} is none of the fields {_known()}")


def render_tag(template: str, fields: Mapping[str, str]) -> str:
    """The text. ``fields`` has a value for each of :data:`FIELDS`. Raises TagError."""
    check_tag(template)
    return _ACTION.sub(lambda found: fields[_bare(found[1])[1:]], template)


def _bare(inside: str) -> str:
    """Without the blanks and the dash at its end."""
    return inside.removesuffix("-").strip()


def tag_fields(record: ContainerRecord) -> dict[str, str]:
    """What templates may ask of a container."""
    image = record.image_id.removeprefix("sha256:")
    return {
        "ID": record.id[:_SHORT],
        "FullID": record.id,
        "Name": record.name,
        "ImageID": image[:_SHORT],
        "ImageFullID": record.image_id,
        "ImageName": record.image_reference,
        "DaemonName": "docker",
    }


def _known() -> str:
    return " ".join(f".{name}" for name in sorted(FIELDS))
