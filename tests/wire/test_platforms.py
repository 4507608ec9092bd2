"""Platforms: aliases, and the choice among an index's entries."""

import pytest

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor
from sharedrt.wire.platforms import Platform, fits, parse_platform, select


def entries(*platforms: str) -> list[Descriptor]:
    return [
        Descriptor("x", Digest(f"sha256:{n:064x}"), 1, platform=text)
        for n, text in enumerate(platforms)
    ]


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("x86_64", Platform("linux", "amd64")),
        ("linux/amd64/v1", Platform("linux", "amd64")),
        ("linux/arm64/v8", Platform("linux", "arm64")),
        ("linux/arm", Platform("linux", "arm")),
        ("linux/arm/6", Platform("linux", "arm", "v6")),
        ("armhf", Platform("linux", "arm")),
        ("Linux/AMD64", Platform("linux", "amd64")),
    ],
)
def test_parses(text: str, platform: Platform) -> None:
    assert parse_platform(text) == platform


@pytest.mark.parametrize("text", ["", "/", "linux", "a/b/c/d", "linux/am d64", "linux/", "foobar"])
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_platform(text)


@pytest.mark.parametrize(
    ("offered", "wanted", "index"),
    [
        (("linux/arm64", "linux/amd64"), "linux/amd64", 1),
        (("linux/386", "linux/amd64"), "linux/amd64", 1),
        (("linux/386",), "linux/amd64", 0),
        (("linux/amd64/v3", "linux/amd64"), "linux/amd64", 1),
        (("linux/amd64", "linux/amd64/v2", "linux/amd64/v3"), "linux/amd64/v2", 1),
        (("linux/arm/v6", "linux/arm/v7"), "linux/arm64", 1),
        (("linux/arm/v7", "linux/arm/v5"), "linux/arm/v6", 1),
        (("windows/amd64", "unknown/unknown"), "linux/amd64", None),
        (("linux/amd64", "linux/amd64"), "linux/amd64", 0),
    ],
)
def test_selects(offered: tuple[str, ...], wanted: str, index: int | None) -> None:
    listed = entries(*offered)
    found = select(listed, parse_platform(wanted))
    assert found == (None if index is None else listed[index])


def test_fits() -> None:
    amd64 = parse_platform("linux/amd64")
    assert fits("linux/amd64", amd64)
    assert fits("", amd64)
    assert not fits("linux/arm64", amd64)
