"""The filter language: what it selects, and that garbage has one error."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.containerd_filter import map_field, parse_filters

IMAGE = {"name": "docker.io/library/busybox:latest", "size": ""}
LABELS = {"app": "web", "io.cri-containerd.kind": "sandbox", "a/b": "c d"}


def fields(path: Sequence[str]) -> str | None:
    if path[0] == "labels":
        return map_field(path[1:], LABELS)
    return IMAGE.get(path[0]) if len(path) == 1 else None


def passes(*filters: str) -> bool:
    return parse_filters(filters).matches(fields)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], True),
        ([""], True),
        (["name"], True),
        (["size"], True),
        (["missing"], False),
        (["name==docker.io/library/busybox:latest"], True),
        (["name==busybox"], False),
        (["name!=busybox"], True),
        (["missing!=x"], True),
        (["missing==x"], False),
        (["name~=busy"], True),
        (["name~=^busy"], False),
        (["name~=/library.busybox/"], True),
        (["name~=|library/busy|"], True),
        ([r"name~=/library\/busy/"], True),
        (["labels.app==web"], True),
        (['labels."io.cri-containerd.kind"==sandbox'], True),
        (['labels."a/b"=="c d"'], True),
        (["labels"], False),
        (["name~=busy,labels.app==web"], True),
        (["name~=busy,labels.app==db"], False),
        (["labels.app==db", "name~=busy"], True),
        (["labels.app==db", "name==x"], False),
        ([r'labels."a\x2fb"=="c\x20d"'], True),
    ],
)
def test_selection(filters: list[str], expected: bool) -> None:
    assert passes(*filters) is expected


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "name,",
        "==x",
        "name==",
        "name=x",
        "name==a b",
        'name=="a',
        "name~=(",
        "a..b",
        "labels.io.cri-containerd.kind==sandbox",
        "name==x,,y",
        r'n=="\q"',
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_filters([text])


@given(st.text(max_size=60))
def test_any_text_parses_or_is_an_invalid_argument(text: str) -> None:
    try:
        parse_filters([text]).matches(fields)
    except InvalidArgument:
        return


def go_quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@given(
    st.dictionaries(st.text(min_size=1, max_size=12), st.text(max_size=12), max_size=4), st.data()
)
def test_quoted_labels_are_found(labels: Mapping[str, str], data: st.DataObject) -> None:
    def look(path: Sequence[str]) -> str | None:
        return map_field(path[1:], labels) if path[0] == "labels" else None

    key = data.draw(st.sampled_from(sorted(labels)) if labels else st.just("none"))
    selector = f"labels.{go_quote(key)}"
    assert parse_filters([selector]).matches(look) is (key in labels)
    value = labels.get(key, "")
    assert parse_filters([f"{selector}=={go_quote(value)}"]).matches(look) is (key in labels)
    assert parse_filters([f"{selector}!={go_quote(value)}"]).matches(look) is (key not in labels)
    assert parse_filters([f"{selector}!={go_quote(value + 'x')}"]).matches(look)
