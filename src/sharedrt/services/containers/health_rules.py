"""What a health check's results make of a container: Docker's rules, without clock or process.

Source: Dockerfile reference, "HEALTHCHECK"; Engine API, ``State.Health``.
"""

from dataclasses import replace
from typing import Final

from sharedrt.model.records import ContainerRecord, Health, HealthResult, HealthStatus
from sharedrt.model.spec import HealthCheck

KEPT_RESULTS: Final = 5
OUTPUT_BYTES: Final = 4096
"""Of a check's output no more is kept."""
_NS: Final = 1_000_000_000


def started(record: ContainerRecord) -> Health | None:
    """The health of a container that starts now; results of earlier runs stay to be read."""
    if record.spec.health_check is None:
        return None
    results = record.health.results if record.health is not None else ()
    return Health(results=results)


def ended(health: Health | None) -> Health | None:
    """That of one whose checks are over, as dockerd shows it: who waits for `healthy` waits in vain."""
    return None if health is None else replace(health, status=HealthStatus.UNHEALTHY)


def after(
    health: Health, check: HealthCheck, result: HealthResult, *, running_since_ns: int
) -> Health:
    """The health with one more result."""
    results = (*health.results, result)[-KEPT_RESULTS:]
    if result.exit_code == 0:
        return Health(HealthStatus.HEALTHY, 0, results)
    young = result.started_ns - running_since_ns < check.start_period_s * _NS
    if health.status is HealthStatus.STARTING and young:
        return replace(health, results=results)
    streak = health.failing_streak + 1
    status = HealthStatus.UNHEALTHY if streak >= check.retries else health.status
    return Health(status, streak, results)


def delay_s(health: Health, check: HealthCheck, *, age_ns: int) -> float:
    """How long to wait for the next check of a container that has run for ``age_ns``."""
    starting = health.status is HealthStatus.STARTING
    if starting and age_ns < check.start_period_s * _NS:
        return check.start_interval_s
    return check.interval_s


def shown_output(data: bytes, *, cut: bool) -> str:
    """What is kept of a check's output."""
    return data.decode("utf-8", "replace") + ("..." if cut else "")
