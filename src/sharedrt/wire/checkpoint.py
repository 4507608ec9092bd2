"""What a checkpoint archive says of its container, as containerd and CRI-O write it and checkpointctl reads it.

    config.dump        JSON: the container's id, name, image and runtime     (this module)
    spec.dump          JSON: its OCI runtime spec                            (this module)
    checkpoint/        CRIU's own images
    rootfs-diff.tar    what the container changed of its image: an OCI layer, with whiteouts
    dump.log, stats-dump                                                     CRIU's words, for people

Source: checkpointctl, ``lib/metadata.go``.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

CONFIG: Final = "config.dump"
SPEC: Final = "spec.dump"
IMAGES: Final = "checkpoint"
ROOTFS_DIFF: Final = "rootfs-diff.tar"


class CheckpointError(ValueError):
    """Why an archive's documents make no sense, in a few words."""


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """``config.dump``. Times are RFC 3339 text.

    ``image_name`` is the reference that people know, ``image_ref`` names it by digest, ``image`` is what the client
    asked for; ``runtime`` is the OCI runtime that made the images, by the name of its handler.
    """

    id: str
    name: str
    image: str
    image_ref: str = ""
    image_name: str = ""
    runtime: str = ""
    created: str = ""
    checkpointed: str = ""

    @property
    def image_names(self) -> tuple[str, ...]:
        """Every word that may name the image, the best first."""
        return tuple(filter(None, (self.image_ref, self.image_name, self.image)))


_KEYS: Final = {
    "id": "id",
    "name": "name",
    "image": "rootfsImage",
    "image_ref": "rootfsImageRef",
    "image_name": "rootfsImageName",
    "runtime": "runtime",
    "created": "createdTime",
    "checkpointed": "checkpointedTime",
}


def render_config(config: CheckpointConfig) -> bytes:
    return json.dumps({key: getattr(config, field) for field, key in _KEYS.items()}).encode()


def parse_config(data: bytes) -> CheckpointConfig:
    """Raises CheckpointError."""
    document = _document(CONFIG, data)
    fields = {}
    for field, key in _KEYS.items():
        value = document.get(key) or ""
        if not isinstance(value, str):
            raise CheckpointError(f"{CONFIG}: {key} must be text")
        fields[field] = value
    config = CheckpointConfig(**fields)
    if not config.image_names:
        raise CheckpointError(f"{CONFIG}: names no image")
    return config


def bind_targets(data: bytes) -> tuple[str, ...]:
    """Where ``spec.dump`` has something of the host mounted: the restored container must have it there as well.

    Raises:
        CheckpointError.
    """
    mounts = _document(SPEC, data).get("mounts") or []
    if not isinstance(mounts, list):
        raise CheckpointError(f"{SPEC}: mounts must be a list")
    found = []
    for mount in mounts:
        if not isinstance(mount, dict) or not isinstance(mount.get("destination"), str):
            raise CheckpointError(f"{SPEC}: a mount has no destination")
        options = mount.get("options") or []
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            found.append(mount["destination"])
    return tuple(found)


def _document(name: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} is no JSON") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{name} is no JSON object")
    return document
