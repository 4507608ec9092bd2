"""Healthcheck: the client's over the image's."""

from typing import Any

import pytest

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.translate_health import merge_health, translate_health
from sharedrt.edges.docker.words import Refusal
from sharedrt.model.spec import HealthCheck

S = 1_000_000_000


def merged(own: dict[str, Any], image: dict[str, Any]) -> dict[str, Any] | None:
    return merge_health(Fields(own), Fields(image))


def check(value: dict[str, Any], shell: tuple[str, ...] = ()) -> HealthCheck | None:
    return translate_health(Fields(value), shell)


def test_each_part_that_the_client_does_not_say_is_the_image_s() -> None:
    image = {"Test": ["CMD", "true"], "Interval": 5 * S, "Retries": 4}
    assert merged({}, {}) is None
    assert merged({}, image) == image
    assert merged({"Timeout": S, "Interval": 0}, image) == {**image, "Timeout": S}
    assert merged({"Test": ["NONE"]}, image) == {**image, "Test": ["NONE"]}
    assert merged({"Test": ["CMD-SHELL", "x"], "Retries": 1}, image) == {
        "Test": ["CMD-SHELL", "x"],
        "Interval": 5 * S,
        "Retries": 1,
    }


def test_commands() -> None:
    assert check({"Test": ["NONE"]}) is None
    assert check({"Interval": S}) is None
    assert check({"Test": ["CMD", "a", "b"]}) == HealthCheck(("a", "b"))
    assert check({"Test": ["CMD-SHELL", "a b"]}) == HealthCheck(("/bin/sh", "-c", "a b"))
    assert check({"Test": ["CMD-SHELL", "a b"]}, ("/bin/ash", "-ec")) == HealthCheck(
        ("/bin/ash", "-ec", "a b")
    )


def test_figures() -> None:
    value = {
        "Test": ["CMD", "a"],
        "Interval": 2 * S,
        "Timeout": S // 2,
        "StartPeriod": 9 * S,
        "StartInterval": 3 * S,
        "Retries": 7,
    }
    assert check(value) == HealthCheck(("a",), 2.0, 0.5, 9.0, 3.0, 7)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"Interval": 999_999}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Timeout": -1}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"StartPeriod": 1}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"Retries": -1}, "Retries in Healthcheck cannot be negative"),
    ],
)
def test_figures_that_make_no_sense(own: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        merged(own, {})


@pytest.mark.parametrize("test", [["RUN", "x"], ["CMD"], ["CMD-SHELL"]])
def test_unknown_and_empty_commands(test: list[str]) -> None:
    with pytest.raises(Refusal):
        check({"Test": test})
