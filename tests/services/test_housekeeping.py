"""Housekeeping goes on for ever, also when a round of it fails."""

import asyncio
import struct
from typing import cast

import pytest

from sharedrt.model.drivers import BridgeNetwork
from sharedrt.model.faults import Internal, Unavailable
from sharedrt.services import housekeeping


@pytest.mark.parametrize("error", [Unavailable("disk", "away"), OSError(5, "Input/output error")])
async def test_a_failed_round_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(housekeeping, "COLLECT_EVERY_S", 0.0)
    rounds = 0
    enough = asyncio.Event()

    async def collect() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            enough.set()
        raise error

    async with asyncio.TaskGroup() as group:
        task = group.create_task(housekeeping.collect_garbage(collect))
        await asyncio.wait_for(enough.wait(), 60)
        task.cancel()
    assert rounds >= 3


@pytest.mark.parametrize("error", [Unavailable("disk", "away"), OSError(5, "Input/output error")])
async def test_what_fails_in_one_namespace_is_done_in_the_others(error: Exception) -> None:
    done = []

    async def fails() -> None:
        raise error

    async def works() -> None:
        done.append("b")

    await housekeeping.each("garbage collection", fails, works)
    assert done == ["b"]


class Rules:
    """Of BridgeNetwork what housekeeping uses."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.mended = asyncio.Event()
        self.deaf: Exception | None = None

    async def rules_changed(self) -> None:
        if self.deaf:
            raise self.deaf
        await self.changed.wait()
        self.changed.clear()

    async def mend(self) -> bool:
        self.mended.set()
        if self.deaf:
            raise self.deaf
        return True


async def test_rules_are_mended_when_they_change_and_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(housekeeping, "MEND_EVERY_S", 3600)
    monkeypatch.setattr(housekeeping, "MEND_DELAY_S", 0.0)
    rules = Rules()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(housekeeping.mend_networks(cast(BridgeNetwork, rules)))
        rules.changed.set()
        await asyncio.wait_for(rules.mended.wait(), 60)
        monkeypatch.setattr(housekeeping, "MEND_EVERY_S", 0.2)
        rules.changed.set()
        for deaf in (None, Internal("network", "no netlink"), struct.error("cut short"), None):
            rules.deaf = deaf
            rules.mended.clear()
            await asyncio.wait_for(rules.mended.wait(), 60)
        task.cancel()
