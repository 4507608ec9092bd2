"""WWW-Authenticate headers as registries send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.drivers.registry.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        (["Basic"], [Challenge("basic")]),
        (['Basic realm="a, b"'], [Challenge("basic", {"realm": "a, b"})]),
        (
            ['Bearer realm="https://auth/token",service="reg",scope="repository:a/b:pull,push"'],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth/token",
                        "service": "reg",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            ["BEARER Realm=x, Basic realm=y"],
            [Challenge("bearer", {"realm": "x"}), Challenge("basic", {"realm": "y"})],
        ),
        (
            ['Negotiate, Basic realm="q\\"uoted"'],
            [Challenge("negotiate"), Challenge("basic", {"realm": 'q"uoted'})],
        ),
        (
            ["Basic realm=x", "Bearer realm=y"],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "y"})],
        ),
        (["", "= nonsense"], []),
    ],
)
def test_parses(headers: list[str], challenges: list[Challenge]) -> None:
    assert parse_challenges(headers) == challenges


@given(st.text(max_size=60))
def test_garbage_is_harmless(text: str) -> None:
    parse_challenges([text])
