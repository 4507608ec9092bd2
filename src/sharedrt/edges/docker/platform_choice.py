"""The ``platform`` parameters: which of an image's platforms is meant.

Here an image has one platform, so one that was asked for is either that or refused.
"""

import json

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.image_access import complete
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.services.images import Image


def json_platform(text: str) -> str | None:
    """An OCIPlatform in JSON as ``os/architecture[/variant]``; ``None`` when it is empty. Raises Refusal (400)."""
    if not text:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"failed to parse platform: {error}") from error
    if not isinstance(value, dict):
        raise bad_request("failed to parse platform: not an object")
    platform = Fields(value, "platform")
    parts = (platform.text("os"), platform.text("architecture"), platform.text("variant"))
    if not parts[0] or not parts[1]:
        raise bad_request("both OS and Architecture must be provided")
    return "/".join(part for part in parts if part)


def check_json_platform(call: Call, image: Image, reference: str, name: str = "platform") -> None:
    """Refuse an image that the platforms in the parameter ``name`` do not have."""
    for text in call.texts(name):
        check_platform(image, json_platform(text) or "", reference)


def check_platform(image: Image, platform: str, reference: str) -> None:
    """Refuse an image of another platform than the one asked for, as if it were not here: the CLI then
    pulls the right one."""
    if not platform:
        return
    actual = image.config.platform
    wanted = platform.lower().split("/")
    have = actual.split("/")
    if len(wanted) == 1:
        fits = wanted[0] in have[:2]
    else:
        fits = wanted[:2] == have[:2] and (len(wanted) < 3 or wanted[2:3] == (have[2:3] or [""]))
    if not fits:
        raise Refusal(
            404,
            f"image with reference {complete(reference)} was found but its platform ({actual}) "
            f"does not match the specified platform ({platform})",
        )
