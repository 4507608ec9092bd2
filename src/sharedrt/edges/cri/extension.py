"""What a record carries for this edge alone: the client's own configuration message, byte for byte.

Answers repeat what was asked (metadata, image, mounts, namespace options), so the message itself is kept
rather than a copy of each field that a newer CRI may extend.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final, TypeVar

import betterproto

from sharedrt.model.records import Json

KEY: Final = "cri"
M = TypeVar("M", bound=betterproto.Message)


def extension_of(config: betterproto.Message) -> Mapping[str, Json]:
    """A record's ``extensions`` that hold ``config``."""
    return {KEY: {"config": b64encode(bytes(config)).decode()}}


def has_config(extensions: Mapping[str, Json]) -> bool:
    """Whether this door made the record (``ctr`` may make containers in the same namespace)."""
    return isinstance(extensions.get(KEY), dict)


def config_bytes(extensions: Mapping[str, Json]) -> bytes:
    """The encoded message; nothing for a record that another door made."""
    value = extensions.get(KEY)
    encoded = value.get("config") if isinstance(value, dict) else None
    return b64decode(encoded) if isinstance(encoded, str) else b""


def config_of(message_type: type[M], extensions: Mapping[str, Json]) -> M:
    """The message; an empty one for a record that another door made."""
    return message_type.FromString(config_bytes(extensions))
