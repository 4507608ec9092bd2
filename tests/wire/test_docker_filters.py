"""Docker's filters in both shapes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.docker_filters import FilterError, parse_filters


@pytest.mark.parametrize(
    "text", ['{"label":["a=b","c"]}', '{"label":{"a=b":true,"c":true,"no":false}}']
)
def test_both_shapes(text: str) -> None:
    filters = parse_filters(text)
    assert filters.get("label") == {"a=b", "c"}
    assert filters.labels({"a": "b", "c": ""})
    assert not filters.labels({"a": "x", "c": ""})
    assert not filters.labels({"a": "b"})
    assert "label" in filters
    assert "name" not in filters


def test_absent_filters_let_everything_pass() -> None:
    for text in ("", "null", "{}"):
        filters = parse_filters(text)
        assert not filters
        assert filters.exact("status", "running")
        assert filters.matches("name", "x")
        assert filters.labels({})
        assert filters.one("until") is None
        assert filters.boolean("dangling") is None


def test_names_are_regular_expressions() -> None:
    filters = parse_filters('{"name":["^web[0-9]$"]}')
    assert filters.matches("name", "web1")
    assert not filters.matches("name", "my-web1")
    assert parse_filters('{"name":["["]}').matches("name", "[")
    assert not parse_filters('{"name":["["]}').matches("name", "x")


def test_no_expression_of_a_client_makes_others_wait() -> None:
    """For each character more Python's search took twice as long, with the event loop standing still."""
    filters = parse_filters('{"name":["(a+)+$"]}')
    assert not filters.matches("name", "a" * 60 + "b")


def test_booleans() -> None:
    assert parse_filters('{"dangling":["true"]}').boolean("dangling") is True
    assert parse_filters('{"dangling":["0"]}').boolean("dangling") is False
    with pytest.raises(FilterError, match="dangling=\\[maybe\\]"):
        parse_filters('{"dangling":["maybe"]}').boolean("dangling")


def test_without_labels() -> None:
    filters = parse_filters('{"label!":["keep"]}')
    assert filters.without_labels({"a": "b"})
    assert not filters.without_labels({"keep": ""})


@pytest.mark.parametrize(
    "text", ["[", "[" * 50_000, "[]", "5", '{"a":5}', '{"a":[1]}', '{"a":"b"}']
)
def test_malformed(text: str) -> None:
    with pytest.raises(FilterError, match="invalid filter"):
        parse_filters(text)


def test_unknown_filters_are_named() -> None:
    with pytest.raises(FilterError, match="invalid filter 'colour'"):
        parse_filters('{"colour":["red"]}').check(["label"])


@given(st.dictionaries(st.text(), st.lists(st.text())))
def test_shapes_are_equivalent(values: dict[str, list[str]]) -> None:
    lists = parse_filters(json.dumps(values))
    maps = parse_filters(json.dumps({k: dict.fromkeys(v, True) for k, v in values.items()}))
    for name in values:
        assert lists.get(name) == maps.get(name) == set(values[name])
