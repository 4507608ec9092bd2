"""JSON that is none, told as Go tells it."""

import pytest

from sharedrt.edges.docker.json_words import load_json
from sharedrt.edges.docker.words import Refusal


def test_json() -> None:
    assert load_json(b' {"a": [1, null]} ') == {"a": [1, None]}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{invalid json", "invalid character 'i' looking for beginning of object key string"),
        (b"{} trailing content", "unexpected content after JSON"),
        (b"nope", "invalid character 'n' looking for beginning of value"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a": 1 "b"}', "invalid character '\"' after object key:value pair"),
        (b'{"a": ', "unexpected EOF"),
        (b'{"a": "b', "unexpected EOF"),
        (b"\xff", "invalid JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_refused(raw: bytes, words: str) -> None:
    with pytest.raises(Refusal) as caught:
        load_json(raw)
    assert caught.value.status == 400
    assert caught.value.message.startswith("invalid JSON: ") or words == "invalid JSON"
    assert words in caught.value.message
