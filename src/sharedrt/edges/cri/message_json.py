"""Messages as JSON the way Go's encoding/json writes generated structs: snake case, numbers for enums.

That is the form in which other runtimes show a configuration in ``info``, and which ``crictl inspect``
templates read. (Protobuf's own JSON mapping has camel case, and texts for 64-bit numbers.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

import betterproto

from sharedrt.model.records import Json
from sharedrt.pb.codec import is_present


def message_json(message: betterproto.Message) -> dict[str, Json]:
    """Fields at their defaults are left out, as with ``omitempty``."""
    out: dict[str, Json] = {}
    for field in fields(cast(Any, message)):
        name, value = field.name, getattr(message, field.name)
        if isinstance(value, betterproto.Message):
            if is_present(value):
                out[name] = message_json(value)
        elif value:
            out[name] = _value(value)
    return out


def _value(value: Any) -> Json:
    match value:
        case betterproto.Message():
            return message_json(value)
        case bool() | float():
            return value
        case int():
            return int(value)
        case Mapping():
            return {str(key): _value(item) for key, item in value.items()}
        case bytes():
            return value.decode("latin-1")
        case str():
            return value
        case Sequence():
            return [_value(item) for item in value]
        case _:
            raise TypeError(f"no JSON form for {type(value).__name__}")
