"""The short form of the soak of pods."""

import pytest

from tests.soak.pods import BLOCKED, Plan, Slip, explain, soak


@pytest.mark.real
async def test_a_few_pods_for_a_few_seconds() -> None:
    # Whatever else this host has to do is no fault of the daemon's.
    report = await soak(Plan(pods=12, seconds=8, rotate_s=2, judged_by=(BLOCKED,)))
    assert report.faults == []


def test_missing_probes_are_explained() -> None:
    slips = [Slip(7, 0.5), Slip(7, 0.25), Slip(90, 1.5)]
    assert explain(slips, 3000, 2998) == (
        "2 not made: 3 late ones moved the rest by 2.2 s (2 at 7 s, 1 at 90 s)"
    )
    assert explain([], 30, 30) == "0 not made: 0 late ones moved the rest by 0.0 s"
