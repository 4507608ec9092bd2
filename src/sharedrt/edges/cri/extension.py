"""What a record carries for this edge alone: the client's own configuration message, byte for byte.

Answers repeat what was asked (metadata, image, mounts, namespace options), so the message itself is kept
rather than a copy of each field that a newer CRI may extend.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeVar, cast

import betterproto

from sharedrt.model.records import Json

KEY: Final = "cri"
_KEPT: Final = 512
M = TypeVar("M", bound=betterproto.Message)


def extension_of(config: betterproto.Message) -> Mapping[str, Json]:
    """A record's ``extensions`` that hold ``config``."""
    return {KEY: {"config": b64encode(bytes(config)).decode()}}


def has_config(extensions: Mapping[str, Json]) -> bool:
    """Whether this door made the record (``ctr`` may make containers in the same namespace)."""
    return isinstance(extensions.get(KEY), dict)


def config_bytes(extensions: Mapping[str, Json]) -> bytes:
    """The encoded message; nothing for a record that another door made."""
    return b64decode(_text(extensions))


def config_of(message_type: type[M], extensions: Mapping[str, Json]) -> M:
    """The message; an empty one for a record that another door made. Shared: not to be changed."""
    return cast(M, _decoded(message_type, _text(extensions)))


def _text(extensions: Mapping[str, Json]) -> str:
    value = extensions.get(KEY)
    encoded = value.get("config") if isinstance(value, dict) else None
    return encoded if isinstance(encoded, str) else ""


@lru_cache(maxsize=_KEPT)
def _decoded(message_type: type[betterproto.Message], text: str) -> betterproto.Message:
    """Decoding takes a millisecond, and stats and statuses are asked for all the time."""
    return message_type.FromString(b64decode(text))
