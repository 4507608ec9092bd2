"""What the manager does with threads."""

import asyncio
import threading

import pytest

from sharedrt.drivers.cgroups import CgroupManager, Hierarchies, tree


@pytest.mark.parametrize("work", ["kill", "remove"])
async def test_processes_that_will_not_die_keep_nobody_else_from_working(
    monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """In uninterruptible sleep on a dead file server: each is waited for for ten seconds."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    dead, begun = threading.Event(), list[str]()

    def waits(_: Hierarchies, path: str) -> bool:
        begun.append(path)
        return dead.wait()

    monkeypatch.setattr(tree, work, waits)
    cgroups = CgroupManager("cgroupfs", hierarchies=Hierarchies(), systemd_running=False)
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(getattr(cgroups, work)(f"/pod{number}"))
        try:
            async with asyncio.timeout(60):
                while len(begun) < 8:  # noqa: ASYNC110 - threads' doing
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(begun.sort)
        finally:
            dead.set()
    cgroups.close()
