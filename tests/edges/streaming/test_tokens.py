"""Tokens: good once, for a minute, and not without bound."""

from typing import Any, cast

import pytest

from sharedrt.edges.streaming.tokens import LIFETIME_S, MAX_TOKENS, PortForwardJob, Tokens
from sharedrt.model.faults import ResourceExhausted
from sharedrt.model.ids import SandboxId


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def job(number: int = 0) -> PortForwardJob:
    return PortForwardJob(cast(Any, None), SandboxId(f"pod{number}"), ())


def test_good_once() -> None:
    tokens = Tokens(Clock())
    one, two = tokens.issue(job(1)), tokens.issue(job(2))
    assert one != two
    assert len(one) >= 32
    assert tokens.redeem(one) == job(1)
    assert tokens.redeem(one) is None
    assert tokens.redeem("") is None
    assert tokens.redeem(two) == job(2)


def test_they_expire() -> None:
    clock = Clock()
    tokens = Tokens(clock)
    early = tokens.issue(job(1))
    clock.now += LIFETIME_S / 2
    late = tokens.issue(job(2))
    clock.now += LIFETIME_S / 2
    assert tokens.redeem(early) is None
    assert tokens.redeem(late) == job(2)


def test_those_that_wait_are_bounded_and_expired_ones_make_room() -> None:
    clock = Clock()
    tokens = Tokens(clock)
    for number in range(MAX_TOKENS):
        tokens.issue(job(number))
    with pytest.raises(ResourceExhausted):
        tokens.issue(job())
    clock.now += LIFETIME_S
    assert tokens.redeem(tokens.issue(job(7))) == job(7)
