"""Signals as clients write them."""

import pytest

from sharedrt.model.faults import InvalidArgument
from sharedrt.services.containers.signals import parse_signal


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("15", 15),
        ("64", 64),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "65", "SIG42", "SIG9", "-9", "TURM", "RTMAX+1", "٣"),
        # What int() will not read: a sign too many, and more digits than it takes.
        *("RTMIN+-3", "SIGRTMIN++1", "9" * 5000, "RTMIN+" + "9" * 5000),
    ],
)
def test_no_signals(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_signal(text)
