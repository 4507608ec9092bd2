"""What a volume's server does to others."""

import asyncio
import threading
from pathlib import Path

import pytest

from sharedrt.drivers.volumes import LocalVolumeFolders, folders

HUNG = 12
"""More than there are threads in a loop's own pool on a small machine."""


async def test_servers_that_do_not_answer_keep_nobody_else_from_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    answer, begun = threading.Event(), list[str]()

    def hangs(name: str, *_: object) -> None:
        begun.append(name)
        answer.wait()

    monkeypatch.setattr(folders, "mount_volume", hangs)
    volumes = LocalVolumeFolders()
    options = {"type": "nfs", "device": ":/export", "o": "addr=192.0.2.1"}
    async with asyncio.TaskGroup() as group:
        for number in range(HUNG):
            group.create_task(volumes.mount(tmp_path / "volumes" / f"v{number}", options))
        try:
            async with asyncio.timeout(60):
                while len(begun) < HUNG:  # noqa: ASYNC110 - threads' doing
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(begun.sort)
                await volumes.make(tmp_path / "volumes" / "plain")
        finally:
            answer.set()
