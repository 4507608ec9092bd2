"""Processes of an earlier daemon are known by their arguments."""

import asyncio
from pathlib import Path

from sharedrt.drivers.children import Child
from sharedrt.drivers.oci.checkpoint import checkpointing


async def test_a_runtime_that_writes_a_checkpoint(tmp_path: Path) -> None:
    arguments = ("checkpoint", "--image-path", str(tmp_path / "checkpoint"), "--leave-running")
    child = await Child.start(["/bin/sh", "-c", "sleep 60; :", *arguments], session=True)
    try:
        assert checkpointing(tmp_path)
        assert not checkpointing(tmp_path / "other")
    finally:
        child.kill(group=True)
        await child.wait()
    async with asyncio.timeout(60):
        while checkpointing(tmp_path):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
