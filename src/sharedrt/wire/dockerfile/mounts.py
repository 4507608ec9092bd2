"""``RUN --mount=...``: fields of one mount (Dockerfile reference, "RUN --mount")."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sharedrt.wire.dockerfile.errors import DockerfileError

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_NAMES: Final = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}


class MountType(StrEnum):
    BIND = "bind"
    CACHE = "cache"
    TMPFS = "tmpfs"
    SECRET = "secret"
    SSH = "ssh"


class Sharing(StrEnum):
    """What builds that use the same cache at the same time do."""

    SHARED = "shared"
    PRIVATE = "private"
    LOCKED = "locked"


_ALLOWED: Final[Mapping[MountType, frozenset[str]]] = {
    MountType.BIND: frozenset({"target", "source", "from", "readonly", "readwrite"}),
    MountType.CACHE: frozenset(
        {"target", "id", "sharing", "from", "source", "mode", "uid", "gid", "readonly", "readwrite"}
    ),
    MountType.TMPFS: frozenset({"target", "size"}),
    MountType.SECRET: frozenset(
        {"id", "source", "target", "required", "mode", "uid", "gid", "env"}
    ),
    MountType.SSH: frozenset({"id", "target", "required", "mode", "uid", "gid"}),
}


@dataclass(frozen=True, slots=True)
class RunMount:
    """``from_``: a stage or an image; empty: the build context (bind), an empty folder (cache)."""

    type: MountType
    target: str = ""
    source: str = ""
    from_: str = ""
    id: str = ""
    readonly: bool = False
    sharing: Sharing = Sharing.SHARED
    required: bool = False
    size_bytes: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str = ""
    """The variable that gets a secret instead of a file."""


def parse_mount(text: str) -> RunMount:
    """One flag's value, its variables substituted already. Raises DockerfileError."""
    fields = _fields(text)
    try:
        kind = MountType(fields.pop("type", "bind"))
    except ValueError as error:
        raise DockerfileError(f"unsupported mount type {text!r}") from error
    for name in fields:
        if name not in _ALLOWED[kind]:
            raise DockerfileError(f"unexpected key {name!r} for mount type {kind.value!r}")
    target, source = fields.get("target", ""), fields.get("source", "")
    id = fields.get("id", "")
    readonly = kind is MountType.BIND
    for name, means in (("readonly", True), ("readwrite", False)):
        if name in fields:
            readonly = _boolean(name, fields[name]) is means
    if kind in (MountType.BIND, MountType.CACHE, MountType.TMPFS) and not target:
        raise DockerfileError(f"invalid mount: {kind.value} needs a target")
    if kind is MountType.SECRET and not (id or source or target or fields.get("env")):
        raise DockerfileError("invalid mount: a secret needs an id")
    if kind is MountType.SECRET:
        id = id or source.rpartition("/")[2] or target.rpartition("/")[2] or fields.get("env", "")
    try:
        sharing = Sharing(fields.get("sharing", "shared"))
    except ValueError as error:
        raise DockerfileError(f"unsupported sharing value {fields['sharing']!r}") from error
    return RunMount(
        type=kind,
        target=target,
        source=source,
        from_=fields.get("from", ""),
        id=id,
        readonly=readonly,
        sharing=sharing,
        required=_boolean("required", fields.get("required", "false")),
        size_bytes=_size(fields["size"]) if "size" in fields else 0,
        mode=_number("mode", fields["mode"], 8) if "mode" in fields else None,
        uid=_number("uid", fields["uid"], 10) if "uid" in fields else None,
        gid=_number("gid", fields["gid"], 10) if "gid" in fields else None,
        env=fields.get("env", ""),
    )


def _fields(text: str) -> dict[str, str]:
    try:
        words = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        raise DockerfileError(f"failed to parse mount {text!r}") from error
    fields = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = _NAMES.get(name.lower(), name.lower())
        if not equals and name not in ("readonly", "readwrite", "required"):
            raise DockerfileError(f"invalid field {word!r} must be a key=value pair")
        fields[name] = value if equals else "true"
    return fields


def _boolean(name: str, value: str) -> bool:
    if value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise DockerfileError(f"invalid value for {name}: {value}")


def _number(name: str, value: str, base: int) -> int:
    try:
        number = int(value, base)
    except ValueError as error:
        raise DockerfileError(f"invalid value {value} for {name}") from error
    if not 0 <= number < 1 << 32:
        raise DockerfileError(f"invalid value {value} for {name}")
    return number


def _size(value: str) -> int:
    found = _SIZE.fullmatch(value)
    if found is None:
        raise DockerfileError(f"invalid value for size: {value}")
    return int(float(found[1]) * (1 << _UNITS[found[2].lower()]))
