"""Round trips of every record class, found by introspection, and refusal of what has another shape."""

import dataclasses
import json
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedrt.model import records, spec
from sharedrt.model.codec import compact_json, from_json, to_json
from sharedrt.model.records import ContainerState, Json

CLASSES: list[Any] = [
    cls
    for module in (records, spec)
    for cls in vars(module).values()
    if dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
]
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
"""With lone surrogates, which stand for a path's undecodable bytes."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that the type hint allows."""
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(hint, NewType):
        return values_of(hint.__supertype__)
    if origin in (Union, types.UnionType):
        if any(get_origin(arg) is list for arg in args):  # Json alone has lists
            return JSON
        return st.one_of([values_of(arg) for arg in args])
    if origin is tuple and args[1:] == (Ellipsis,):
        return st.lists(values_of(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*[values_of(arg) for arg in args])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(TEXTS, values_of(args[1]), max_size=3)
    if dataclasses.is_dataclass(hint):
        return records_of(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    plain = {
        str: TEXTS,
        int: st.integers(),
        # -0.0 equals a default of 0.0 and is left out, and comes back as that: the same number, printed otherwise.
        float: st.floats(allow_nan=False).map(lambda number: number + 0.0),
        bool: st.booleans(),
        types.NoneType: st.none(),
    }
    return plain[hint]


def records_of(cls: Any) -> st.SearchStrategy[Any]:
    """Any fields that have a default may be left to it, so that both sides of the codec's choice are met."""
    hints = get_type_hints(cls)
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for f in dataclasses.fields(cls):
        has_default = dataclasses.MISSING is not f.default or (
            dataclasses.MISSING is not f.default_factory
        )
        (optional if has_default else required)[f.name] = values_of(hints[f.name])
    return st.fixed_dictionaries(required, optional=optional).map(lambda kw: cls(**kw))


def test_all_records_are_found() -> None:
    assert {"ContainerRecord", "NamespaceRecord", "ContainerSpec", "Mount"} <= {
        cls.__name__ for cls in CLASSES
    }


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_round_trip(cls: type[Any], data: st.DataObject) -> None:
    record = data.draw(records_of(cls))
    text = compact_json(to_json(record))
    back = from_json(cls, json.loads(text))
    assert back == record
    assert repr(back) == repr(
        record
    )  # tuples stay tuples and enums stay enums, which == does not ask


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_garbage_raises_value_error_alone(cls: type[Any], data: st.DataObject) -> None:
    names = st.sampled_from([f.name for f in dataclasses.fields(cls)])
    garbage = data.draw(JSON | st.dictionaries(names, JSON, max_size=4))
    try:
        made = from_json(cls, garbage)
    except ValueError:
        return
    assert isinstance(made, cls)


def test_defaults_are_left_out() -> None:
    record = spec.Resources(memory_bytes=1, unified={}, blkio_read_bps=())
    assert to_json(record) == {"memory_bytes": 1}


def test_a_default_that_is_not_empty_is_kept_apart_from_an_empty_value() -> None:
    assert to_json(spec.Device("/dev/a", "/dev/b", "")) == {
        "host_path": "/dev/a",
        "container_path": "/dev/b",
        "permissions": "",
    }
    assert to_json(spec.Device("/dev/a", "/dev/b", "rwm")).keys() == {"host_path", "container_path"}  # type: ignore[union-attr]


def test_unknown_keys_of_a_newer_program_are_ignored() -> None:
    value: Json = {"name": "web", "color": "red"}
    assert from_json(records.VolumeRecord, value) == records.VolumeRecord("web")


def test_a_missing_required_field_is_named() -> None:
    with pytest.raises(ValueError, match="driver"):
        from_json(records.NetworkRecord, {"id": "n", "name": "web"})


@pytest.mark.parametrize(
    "value",
    [
        {"addresses": "10.0.0.1"},
        {"addresses": {"a": 1}},
        {"labels": ["a"]},
        {"state": "flying"},
        {"spec": []},
        {"spec": {"user_mappings": [[1, 2]]}},
        [],
        "x",
        None,
    ],
)
def test_another_shape_is_refused(value: Json) -> None:
    whole: Json = {"id": "", "name": "", "uid": "", "pod_namespace": "", "attempt": 0, "spec": {}}
    assert from_json(records.SandboxRecord, whole).attempt == 0
    with pytest.raises(ValueError):
        from_json(records.SandboxRecord, whole | value if isinstance(value, dict) else value)  # type: ignore[operator]


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        to_json({"key": b"raw"})
    with pytest.raises(TypeError, match="object"):
        to_json([object()])


def test_subclasses_of_plain_values_become_plain() -> None:
    class Word(str):
        pass

    assert type(to_json(Word("a"))) is str
    assert to_json(types.MappingProxyType({"state": ContainerState.RUNNING})) == {
        "state": "running"
    }
    assert type(to_json(ContainerState.RUNNING)) is str
