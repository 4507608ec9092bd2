"""JSON as Go reads it. The complaints below are those of Go 1.19's ``json.Decoder`` for the same bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.go_json import GoJsonError, read_first, syntax_error


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{invalid json", "invalid character 'i' looking for beginning of object key string"),
        (b"{", "unexpected EOF"),
        (b'{"a"', "unexpected EOF"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":}', "invalid character '}' looking for beginning of value"),
        (b'{"a":1 "b"', "invalid character '\"' after object key:value pair"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"[tru]", "invalid character ']' in literal true (expecting 'e')"),
        (b"[-x]", "invalid character 'x' in numeric literal"),
        (b"[1.]", "invalid character ']' after decimal point in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"[1e]", "invalid character ']' in exponent of numeric literal"),
        (b'"\\x"', "invalid character 'x' in string escape code"),
        (b'"\\u00g0"', "invalid character 'g' in \\u hexadecimal character escape"),
        (b'"a\nb"', "invalid character '\\n' in string literal"),
        (b'"a\x01b"', "invalid character '\\x01' in string literal"),
        (b"NaN", "invalid character 'N' looking for beginning of value"),
        (b"[Infinity]", "invalid character 'I' looking for beginning of value"),
        (b"'a'", "invalid character '\\'' looking for beginning of value"),
        (b"\xc3\xa9", "invalid character '\u00c3' looking for beginning of value"),
        (b"[" * 100_000, "invalid character '[' exceeded max depth"),
    ],
)
def test_complaints(raw: bytes, words: str) -> None:
    with pytest.raises(GoJsonError) as caught:
        read_first(raw)
    assert str(caught.value) == words
    assert not caught.value.empty


@pytest.mark.parametrize("raw", [b"", b" \r\n\t"])
def test_nothing_at_all(raw: bytes) -> None:
    with pytest.raises(GoJsonError) as caught:
        read_first(raw)
    assert caught.value.empty


@pytest.mark.parametrize(
    ("raw", "value", "more"),
    [
        (b' {"a": 1} \n', {"a": 1}, False),
        (b"{} x", {}, True),
        (b"{}{}", {}, True),
        (b"{}}", {}, False),  # as Go's Decoder.More sees it
        (b"null", None, False),
        (b"truex", True, True),
        (b"nulle", None, True),
        (b'{"a":1,"a":2}', {"a": 2}, False),
    ],
)
def test_the_first_value_and_what_follows(raw: bytes, value: Any, more: bool) -> None:
    assert read_first(raw) == (value, more)


def test_what_is_no_text_is_a_replacement_character() -> None:
    assert read_first(b'["\xff", "\\ud800x", "\\ud83d\\ude00"]')[0] == [
        "\ufffd",
        "\ufffdx",
        "\U0001f600",
    ]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False).filter(abs),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_values.filter(lambda value: "Infinity" not in json.dumps(value)))
def test_reads_what_json_writes(value: Any) -> None:
    text = json.dumps(value)
    assert read_first(text.encode()) == (value, False)
    assert syntax_error(text) == ""


@given(st.text(alphabet='{}[]:,"\\utrfn019.eE+- a\n\x00é', max_size=30))
def test_there_is_a_complaint_whenever_there_is_no_value(text: str) -> None:
    complaint = ""
    try:
        read_first(text.encode())
    except GoJsonError as error:
        complaint = "unexpected EOF" if error.empty else str(error)
    assert complaint == syntax_error(text.encode().decode("latin-1"))
