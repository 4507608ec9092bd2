"""The ``platform`` parameters: which of an image's platforms is meant.

Here an image has one platform, so one that was asked for is either that or refused.
"""

import json
import re
from typing import Final

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.image_access import complete
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.services.contracts import HostInfo
from sharedrt.services.images import Image
from sharedrt.wire.platforms import parse_platform

_PART = re.compile(r"[A-Za-z0-9_.-]+")
_OS_ALIASES: Final = {"macos": "darwin"}
_KNOWN_SYSTEMS = (
    "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 "
    "solaris windows zos"
)
_KNOWN_ARCHITECTURES = (
    "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 "
    "mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm x86_64 x86-64 "
    "aarch64 armhf armel i386"
)
_SYSTEMS: Final = frozenset(_KNOWN_SYSTEMS.split())
_ARCHITECTURES: Final = frozenset(_KNOWN_ARCHITECTURES.split())


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


def asked_platform(text: str, host: HostInfo) -> str:
    """``os/architecture[/variant]`` of a ``platform`` parameter, as containerd's ``platforms`` reads it: one part is
    an operating system or an architecture, and the host has the other. Empty when ``text`` is.

    Raises:
        Refusal: 400.
    """
    if not text:
        return ""
    parts = text.split("/")
    for number, part in enumerate(parts):
        if not _PART.fullmatch(part):
            component = "component" if number else "OS component"
            raise bad_request(f'"{part}" is an invalid {component} of "{text}": invalid argument')
    parts = [part.lower() for part in parts]
    parts[0] = _OS_ALIASES.get(parts[0], parts[0])
    match parts:
        case [os] if os in _SYSTEMS:
            return f"{os}/{host.architecture}"
        case [architecture] if architecture in _ARCHITECTURES:
            return str(parse_platform(f"{host.go_os}/{architecture}"))
        case [_]:
            raise bad_request(
                f'"{text}": unknown operating system or architecture: invalid argument'
            )
        case [_, _] | [_, _, _]:
            return str(parse_platform("/".join(parts)))
    raise bad_request(f'"{text}": cannot parse platform specifier: invalid argument')


def import_platform(text: str, host: HostInfo) -> str:
    """What an imported image is for: any architecture, but an operating system that runs here. Raises Refusal."""
    platform = asked_platform(text, host)
    if platform and platform.partition("/")[0] != host.go_os:
        raise bad_request("operating system is not supported")
    return platform


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
