"""The short form of the soak of pods."""

import pytest

from tests.soak.pods import Plan, soak

pytestmark = [pytest.mark.real]


async def test_a_few_pods_for_a_few_seconds() -> None:
    report = await soak(Plan(pods=12, seconds=6, rotate_s=2))
    assert report.faults == []
