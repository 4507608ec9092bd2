"""URLs as clients write them."""

import pytest

from sharedrt.wire.urls import file_name, is_http


@pytest.mark.parametrize("text", ["http://h/a", "HTTPS://h", "http://["])
def test_meant_as_a_url(text: str) -> None:
    assert is_http(text)


@pytest.mark.parametrize("text", ["", "a", "/http://", "ftp://h", "http:/h"])
def test_not_meant_as_one(text: str) -> None:
    assert not is_http(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/b.tar?x=/y", "b.tar"),
        ("http://h/a%20b", "a b"),
        ("http://h/a%2Fb", "b"),
        ("http://h/", ""),
        ("http://h", ""),
        ("http://h/..", ""),
        ("http://h/%2e%2e", ""),
        ("http://h/a%00b", ""),
        ("http://h/" + "a" * 256, ""),
        ("http://[/a", ""),
    ],
)
def test_names_that_a_folder_can_hold(url: str, name: str) -> None:
    assert file_name(url) == name
