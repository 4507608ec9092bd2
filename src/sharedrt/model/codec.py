"""Records and specs to JSON values and back, by their type hints.

The JSON form is what the database stores, so it is lenient towards the past: an unknown key is ignored
and a missing one takes the field's default. Fields that equal their default are left out.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from sharedrt.model.records import Json

T = TypeVar("T")
Decoder = Callable[[Any], Any]


def to_json(value: object) -> Json:
    """A dataclass (or a tuple, mapping, enum, plain value of them) as a JSON value."""
    if is_dataclass(value) and not isinstance(value, type):
        out: dict[str, Json] = {}
        for f in fields(value):
            item = getattr(value, f.name)
            if not _is_default(f, item):
                out[f.name] = to_json(item)
        return out
    if isinstance(value, Enum):
        return cast(Json, value.value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"no JSON form for {type(value).__name__}")


def from_json(cls: type[T], value: Json) -> T:
    """The inverse of :func:`to_json` for a dataclass ``cls``.

    Raises:
        ValueError: the value does not have the shape of ``cls``.
    """
    return cast(T, _decoder(cast(Any, cls))(value))


def _is_default(f: "Field[Any]", item: object) -> bool:
    if f.default is not MISSING:
        return bool(item == f.default)
    return f.default_factory is not MISSING and bool(item == f.default_factory())


@cache
def _decoder(hint: Any) -> Decoder:
    if isinstance(hint, NewType):
        return _decoder(hint.__supertype__)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass_decoder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        concrete = [arg for arg in args if arg is not type(None)]
        if len(concrete) == 1:
            inner = _decoder(concrete[0])
            return lambda value: None if value is None else inner(value)
        return lambda value: value
    if origin is tuple:
        return _tuple_decoder(args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item_decoder = _decoder(args[1])
        return lambda value: {key: item_decoder(item) for key, item in value.items()}
    return lambda value: value


def _tuple_decoder(args: tuple[Any, ...]) -> Decoder:
    if len(args) == 2 and args[1] is Ellipsis:
        item_decoder = _decoder(args[0])
        return lambda value: tuple(item_decoder(item) for item in value)
    decoders = [_decoder(arg) for arg in args]
    return lambda value: tuple(d(item) for d, item in zip(decoders, value, strict=True))


def _dataclass_decoder(cls: type[Any]) -> Decoder:
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]

    def decode(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"{cls.__name__}: expected an object, not {type(value).__name__}")
        known = {name: _decoder(hints[name])(value[name]) for name in names if name in value}
        try:
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}") from error

    return decode
