"""The short form of the soak of pods."""

import pytest

from tests.soak.pods import BLOCKED, Plan, soak

pytestmark = [pytest.mark.real]


async def test_a_few_pods_for_a_few_seconds() -> None:
    # Whatever else this host has to do is no fault of the daemon's.
    report = await soak(Plan(pods=12, seconds=8, rotate_s=2, judged_by=(BLOCKED,)))
    assert report.faults == []
