"""Platforms (``os/architecture[/variant]``): normal forms, and which of an index fits a host best.

Names: OCI image spec, "Platform Variants"; aliases as containerd's ``platforms`` package reads them.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import Descriptor

_PART = re.compile(r"[A-Za-z0-9_.-]+")
_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}
_DEFAULT_VARIANTS: Final = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
_ARM_VARIANTS: Final = ("v8", "v7", "v6", "v5")
_KNOWN_ARCHITECTURES: Final = frozenset(
    (
        *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le"),
        *("mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"),
    )
)
"""Only for a name that stands alone, which may be anything."""
_KNOWN_OS: Final = frozenset({"linux", "windows", "darwin", "freebsd"})


class Platform(NamedTuple):
    """Normalized: a variant that the architecture implies is left out."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def parse_platform(text: str) -> Platform:
    """``linux/amd64``, ``arm64`` (the host's OS), ``linux/arm/v7`` and aliases such as ``x86_64``.

    Raises:
        InvalidArgument.
    """
    parts = text.split("/")
    if not 1 <= len(parts) <= 3 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidArgument("platform", text, "not os/architecture[/variant]")
    if len(parts) == 1:
        if parts[0].lower() in _KNOWN_OS:
            raise InvalidArgument("platform", text, "the architecture is missing")
        if _normalize("linux", parts[0].lower()).architecture not in _KNOWN_ARCHITECTURES:
            raise InvalidArgument("platform", text, "unknown operating system or architecture")
        parts = ["linux", *parts]
    return _normalize(*(part.lower() for part in parts))


def select(entries: Sequence[Descriptor], wanted: Platform) -> Descriptor | None:
    """The entry that fits best, the earlier one among equals; ``None`` when none fits."""
    ranking = _acceptable(wanted)
    best: tuple[int, Descriptor] | None = None
    for entry in entries:
        platform = _of(entry.platform)
        if platform not in ranking:
            continue
        rank = ranking.index(platform)
        if best is None or rank < best[0]:
            best = (rank, entry)
    return best[1] if best else None


def fits(platform: str, wanted: Platform) -> bool:
    """Whether an image that says of itself to be for ``platform`` runs on ``wanted``. One that does not
    say it (empty) is taken at its word's absence, as other engines do."""
    return not platform or _of(platform) in _acceptable(wanted)


def _of(text: str) -> Platform:
    os, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    return _normalize(os.lower() or "linux", architecture.lower(), variant.lower())


def _normalize(os: str, architecture: str, variant: str = "") -> Platform:
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant.isdecimal():
        variant = f"v{variant}"
    if variant == _DEFAULT_VARIANTS.get(architecture):
        variant = ""
    return Platform(os, architecture, variant)


def _acceptable(wanted: Platform) -> list[Platform]:
    """What runs on ``wanted``, best first: itself, lower variants, then the 32-bit sister."""
    os, architecture, variant = wanted
    found = [wanted]
    if architecture == "amd64":
        level = int(variant[1:]) if re.fullmatch(r"v[1-9]", variant) else 1
        found += [_normalize(os, "amd64", f"v{n}") for n in range(level - 1, 0, -1)]
        found.append(Platform(os, "386"))
    elif architecture == "arm64":
        found += [_normalize(os, "arm", name) for name in _ARM_VARIANTS]
    elif architecture == "arm":
        own = variant or _DEFAULT_VARIANTS["arm"]
        found += [_normalize(os, "arm", name) for name in _ARM_VARIANTS if name < own]
    return found
