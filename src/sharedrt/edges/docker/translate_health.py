"""``Healthcheck`` of a create request or an image: durations in nanoseconds, 0 for what is not said."""

from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.words import bad_request
from sharedrt.model.records import Json
from sharedrt.model.spec import HealthCheck

DEFAULT_SHELL: Final = ("/bin/sh", "-c")

_NS: Final = 1_000_000_000
_MINIMUM_NS: Final = 1_000_000
_DURATIONS: Final = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_INTERVAL_S: Final = 30.0
_TIMEOUT_S: Final = 30.0
_START_INTERVAL_S: Final = 5.0
_RETRIES: Final = 3


def merge_health(own: Fields, image: Fields) -> dict[str, Json] | None:
    """The client's check, each part that it does not say taken from the image's; ``None``: neither has one.

    Raises:
        Refusal: a figure that makes no sense, in dockerd's words.
    """
    for name in _DURATIONS:
        value = own.integer(name)
        if value and value < _MINIMUM_NS:
            raise bad_request(f"{name} in Healthcheck cannot be less than 1ms")
    if own.integer("Retries") < 0:
        raise bad_request("Retries in Healthcheck cannot be negative")
    test = own.strings("Test") or image.strings("Test")
    merged: dict[str, Json] = {"Test": list(test)} if test else {}
    for name in (*_DURATIONS, "Retries"):
        if value := own.integer(name) or image.integer(name):
            merged[name] = value
    return merged or None


def translate_health(merged: Fields, shell: tuple[str, ...]) -> HealthCheck | None:
    """``None``: nothing is to be run.

    Raises:
        Refusal: a kind of test that there is not.
    """
    test = merged.strings("Test")
    if not test or test[0] == "NONE":
        return None
    if test[0] not in ("CMD", "CMD-SHELL"):
        raise bad_request(f"Unknown healthcheck type '{test[0]}' (expected 'CMD')")
    if len(test) < 2:
        raise bad_request(f"Healthcheck {test[0]} needs a command")
    args = test[1:] if test[0] == "CMD" else (*(shell or DEFAULT_SHELL), *test[1:])
    return HealthCheck(
        args=args,
        interval_s=_seconds(merged, "Interval", _INTERVAL_S),
        timeout_s=_seconds(merged, "Timeout", _TIMEOUT_S),
        start_period_s=_seconds(merged, "StartPeriod", 0.0),
        start_interval_s=_seconds(merged, "StartInterval", _START_INTERVAL_S),
        retries=merged.integer("Retries") or _RETRIES,
    )


def _seconds(merged: Fields, name: str, default: float) -> float:
    value = merged.integer(name)
    return value / _NS if value else default
