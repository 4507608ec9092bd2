"""Logs rotated as a kubelet does it, under a container that writes as fast as it can."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient
from tests.real.test_cri import pod, secured
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

LINES = 600_000
ROTATIONS = 12


def whole_lines(files: Iterable[Path]) -> list[str]:
    """What was written: a partial line (``P``) goes on in the next entry, maybe of the next file."""
    lines, begun = [], ""
    for file in files:
        for entry in file.read_text().splitlines():
            _, stream, tag, text = entry.split(" ", 3)
            assert stream == "stdout"
            begun += text
            if tag == "F":
                lines.append(begun)
                begun = ""
    assert not begun
    return lines


def set_aside(path: Path, number: int) -> Path:
    """As the kubelet does before it asks for a new file."""
    return path.rename(path.with_name(f"main.{number:02}"))


async def test_rotation_loses_no_line_of_a_fast_writer(cri: CriClient) -> None:
    async with pod(cri, "rotated") as (id, config):
        command = ["sh", "-c", f"seq 1 {LINES}; echo all; sleep 600"]
        container = await cri.create(id, config, "main", command, linux=secured())
        await cri.start(container)
        path = Path((await cri.status(container)).log_path)
        request = pb.ReopenContainerLogRequest(container_id=container)
        files = []
        for number in range(ROTATIONS):
            files.append(set_aside(path, number))
            await cri.runtime.reopen_container_log(request)
            await asyncio.sleep(0.05)
        files.append(path)
        await until(lambda: any(file.read_bytes().endswith(b" F all\n") for file in files))
        assert sum(file.stat().st_size > 0 for file in files) > 2, "it was rotated while it wrote"
        assert whole_lines(files) == [*map(str, range(1, LINES + 1)), "all"]
