"""What results make of a container's health."""

from dataclasses import replace

import pytest

from sharedrt.model.records import ContainerRecord, Health, HealthResult, HealthStatus
from sharedrt.model.spec import HealthCheck
from sharedrt.services.containers.health_rules import (
    KEPT_RESULTS,
    after,
    delay_s,
    ended,
    shown_output,
    started,
)
from tests.services.rig import container

S = 1_000_000_000
CHECK = HealthCheck(("true",), start_period_s=10, retries=2)


def result(code: int, at_s: int = 100) -> HealthResult:
    return HealthResult(at_s * S, at_s * S + 1, code, "")


def with_check(health: Health | None = None) -> ContainerRecord:
    record = container(health=health)
    return replace(record, spec=replace(record.spec, health_check=CHECK))


def outcome(*codes: int, at_s: int = 100) -> tuple[str, int]:
    health = Health()
    for code in codes:
        health = after(health, CHECK, result(code, at_s), running_since_ns=0)
    return health.status.value, health.failing_streak


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((0,), ("healthy", 0)),
        ((1,), ("starting", 1)),
        ((1, 1), ("unhealthy", 2)),
        ((1, 1, 0), ("healthy", 0)),
        ((0, 1), ("healthy", 1)),
        ((0, 1, -1), ("unhealthy", 2)),
        ((0, 1, 0, 1), ("healthy", 1)),
    ],
)
def test_statuses(codes: tuple[int, ...], expected: tuple[str, int]) -> None:
    assert outcome(*codes) == expected


def test_in_the_start_period_failures_count_for_nothing_until_the_first_success() -> None:
    assert outcome(1, 1, 1, at_s=9) == ("starting", 0)
    assert outcome(1, 0, at_s=9) == ("healthy", 0)
    assert outcome(0, 1, 1, at_s=9) == ("unhealthy", 2)


def test_the_last_few_results_are_kept() -> None:
    health = Health()
    for code in range(8):
        health = after(health, CHECK, result(code), running_since_ns=0)
    assert [r.exit_code for r in health.results] == [3, 4, 5, 6, 7]
    assert len(health.results) == KEPT_RESULTS


def test_start_and_end_keep_the_results() -> None:
    assert started(container()) is None
    assert started(with_check()) == Health()
    health = Health(HealthStatus.HEALTHY, 0, (result(0),))
    assert started(with_check(health)) == Health(HealthStatus.STARTING, 0, health.results)
    assert ended(health) == Health(HealthStatus.UNHEALTHY, 0, health.results)
    assert ended(None) is None


def test_delays() -> None:
    check = replace(CHECK, interval_s=30, start_interval_s=2)
    assert delay_s(Health(), check, age_ns=9 * S) == 2
    assert delay_s(Health(), check, age_ns=10 * S) == 30
    assert delay_s(Health(HealthStatus.HEALTHY), check, age_ns=1 * S) == 30


def test_output_that_was_cut_says_so() -> None:
    assert shown_output(b"ab\xff", cut=False) == "ab\ufffd"
    assert shown_output(b"ab", cut=True) == "ab..."
