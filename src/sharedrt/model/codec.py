"""Records and specs to JSON values and back, by their type hints.

The JSON form is what the database stores, so it is lenient towards the past: an unknown key is ignored
and a missing one takes the field's default. Fields that equal their default are left out.

Every write of a record passes here, so what can be known about a class is worked out once: an encoder
per runtime type, a decoder per type hint.
"""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from sharedrt.model.records import Json

T = TypeVar("T")
Encoder = Callable[[Any], Json]
Decoder = Callable[[Any], Any]

_PLAIN = frozenset({type(None), bool, int, float, str})


def to_json(value: object) -> Json:
    """A dataclass (or a tuple, mapping, enum, plain value of them) as a JSON value.

    Raises:
        TypeError: something inside has no JSON form.
    """
    return _ENCODERS[type(value)](value)


def from_json(cls: type[T], value: Json) -> T:
    """The inverse of :func:`to_json` for a dataclass ``cls``.

    Containers, enums and the presence of required fields are checked; plain values are taken as they are.

    Raises:
        ValueError: the value does not have the shape of ``cls``.
    """
    return cast(T, _decoder(cast(Any, cls))(value))


compact_json: Callable[[Json], str] = json.JSONEncoder(separators=(",", ":")).encode
"""JSON text as the database keeps it; ASCII alone, so that a path with undecodable bytes survives too."""


class _Encoders(dict[type[Any], Encoder]):
    """One per runtime type, made when the type is first met."""

    def __missing__(self, kind: type[Any]) -> Encoder:
        encoder = self[kind] = _make_encoder(kind)
        return encoder


_ENCODERS = _Encoders()


def _make_encoder(kind: type[Any]) -> Encoder:
    if is_dataclass(kind):
        return _dataclass_encoder(kind)
    if issubclass(kind, Enum):
        return {member: member.value for member in kind}.__getitem__
    if issubclass(kind, Mapping):
        return lambda value: {
            str(key): item if type(item) in _PLAIN else _ENCODERS[type(item)](item)
            for key, item in value.items()
        }
    if issubclass(kind, (tuple, list)):
        return lambda value: [
            item if type(item) in _PLAIN else _ENCODERS[type(item)](item) for item in value
        ]
    if kind in _PLAIN:
        return lambda value: value
    for plain in (int, float, str):
        if issubclass(kind, plain):
            return plain
    raise TypeError(f"no JSON form for {kind.__name__}")


def _dataclass_encoder(cls: Any) -> Encoder:
    plan = []
    for f in fields(cls):
        made = f.default_factory() if f.default_factory is not MISSING else MISSING
        plan.append((f.name, made if f.default is MISSING else f.default))
    # attrgetter gives one value for one name and a tuple for more; a repeated name makes it a tuple always.
    names = [name for name, _ in plan]
    values_of = attrgetter(*names, names[0]) if names else lambda _: ()

    def encode(value: Any) -> Json:
        out: dict[str, Json] = {}
        for (name, default), item in zip(plan, values_of(value), strict=False):
            if item is default or item == default:
                continue
            out[name] = item if type(item) in _PLAIN else _ENCODERS[type(item)](item)
        return out

    return encode


@cache
def _decoder(hint: Any) -> Decoder:
    return _structured(hint) or (lambda value: value)


def _structured(hint: Any) -> Decoder | None:
    """The decoder of a hint whose values change on the way, None for one whose values stay as they are."""
    if isinstance(hint, NewType):
        return _structured(hint.__supertype__)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass_decoder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union_decoder(args)
    if origin is tuple:
        return _tuple_decoder(args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_decoder(args[1])
    return None


def _union_decoder(args: tuple[Any, ...]) -> Decoder | None:
    concrete = [arg for arg in args if arg is not type(None)]
    inner = _structured(concrete[0]) if len(concrete) == 1 else None
    return inner and (lambda value: None if value is None else inner(value))


def _tuple_decoder(args: tuple[Any, ...]) -> Decoder:
    if len(args) == 2 and args[1] is Ellipsis:
        inner = _structured(args[0])

        def decode_list(value: Any) -> Any:
            _expect(list, value)
            return tuple(value) if inner is None else tuple([inner(item) for item in value])

        return decode_list
    decoders = [_decoder(arg) for arg in args]

    def decode_fixed(value: Any) -> Any:
        _expect(list, value)
        return tuple([decode(item) for decode, item in zip(decoders, value, strict=True)])

    return decode_fixed


def _mapping_decoder(item_hint: Any) -> Decoder:
    inner = _structured(item_hint)

    def decode(value: Any) -> Any:
        _expect(dict, value)
        if inner is None:
            return dict(value)
        return {key: inner(item) for key, item in value.items()}

    return decode


def _dataclass_decoder(cls: type[Any]) -> Decoder:
    hints = get_type_hints(cls)
    plan = {f.name: _structured(hints[f.name]) for f in fields(cls)}

    def decode(value: Any) -> Any:
        _expect(dict, value)
        known = {}
        for name, item in value.items():
            if name in plan:
                inner = plan[name]
                known[name] = item if inner is None else inner(item)
        try:
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}") from error

    return decode


def _expect(kind: type[Any], value: object) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"expected a JSON {kind.__name__}, not {type(value).__name__}")
