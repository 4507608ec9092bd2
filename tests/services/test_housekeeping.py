"""Housekeeping goes on for ever, also when a round of it fails."""

import asyncio

import pytest

from sharedrt.model.faults import Unavailable
from sharedrt.services import housekeeping


async def test_a_failed_round_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "COLLECT_EVERY_S", 0.0)
    rounds = 0
    enough = asyncio.Event()

    async def collect() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            enough.set()
        raise Unavailable("disk", "away")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(housekeeping.collect_garbage(collect))
        await asyncio.wait_for(enough.wait(), 1)
        task.cancel()
    assert rounds >= 3
