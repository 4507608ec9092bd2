"""CRI logs as they come out of real containers: fast, binary, rotated, without a line lost."""

import asyncio
import hashlib
import time
from pathlib import Path

import pytest

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient
from tests.real.test_cri import ended, pod, secured, until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


def records(path: Path) -> list[tuple[bytes, bytes, bytes]]:
    """(stream, tag, data) of each line of a log."""
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n"), "the last line is whole"
    lines = data.split(b"\n")[:-1]
    parts = [line.split(b" ", 3) for line in lines]
    assert all(len(part) == 4 and part[2] in (b"F", b"P") for part in parts)
    return [(part[1], part[2], part[3]) for part in parts]


def rotate(path: Path, number: int) -> Path:
    """As the kubelet renames a log."""
    return path.rename(path.with_suffix(f".{number}"))


def size_of(path: str) -> int:
    return Path(path).stat().st_size


def stream_of(found: list[tuple[bytes, bytes, bytes]], stream: bytes) -> bytes:
    """What the process wrote: a full line had a newline that is not in its data."""
    return b"".join(
        data + (b"\n" if tag == b"F" else b"") for name, tag, data in found if name == stream
    )


async def test_rotation_at_full_speed_loses_no_line(cri: CriClient) -> None:
    async with pod(cri, "rotated") as (id, config):
        script = (
            "n=0; while [ ! -e /tmp/stop ]; do seq $((n*20000+1)) $((n*20000+20000));"
            " n=$((n+1)); done; echo last"
        )
        main = await cri.create(id, config, "main", ["sh", "-c", script], linux=secured())
        await cri.start(main)
        path = Path((await cri.status(main)).log_path)
        rotated = []
        for number in range(12):
            await asyncio.sleep(0.08)
            rotated.append(rotate(path, number))
            request = pb.ReopenContainerLogRequest(container_id=main)
            await cri.runtime.reopen_container_log(request)
        await cri.exec_sync(main, "touch", "/tmp/stop")
        await ended(cri, main)
        # A line may begin in one file and end in the next.
        parts = [stream_of(records(part), b"stdout") for part in (*rotated, path)]
        seen = b"".join(parts).splitlines()
    assert all(parts)
    assert seen[-1] == b"last"
    assert seen[:-1] == [str(number).encode() for number in range(1, len(seen))]


async def test_binary_output_and_partial_lines(cri: CriClient) -> None:
    script = (
        "head -c 3000000 /dev/urandom > /data; cat /data; sha256sum /data >&2;"
        " printf one; sleep 0.3; printf two; sleep 0.3; echo three"
    )
    async with pod(cri, "binary") as (id, config):
        main = await cri.create(id, config, "main", ["sh", "-c", script], linux=secured())
        await cri.start(main)
        status = await ended(cri, main)
        found = records(Path(status.log_path))
    told = stream_of(found, b"stderr").split()[0]
    text = stream_of(found, b"stdout")
    assert text.endswith(b"onetwothree\n")
    data = text.removesuffix(b"onetwothree\n")
    assert hashlib.sha256(data).hexdigest().encode() == told
    assert [(tag, data) for _, tag, data in found][-1] == (b"F", b"three")
    assert {tag for _, tag, _ in found} == {b"F", b"P"}


async def test_a_flood_is_written_at_the_monitors_own_speed(cri: CriClient) -> None:
    """The daemon's loop has no part in it: it answers meanwhile."""
    line = "x" * 99
    script = f"yes {line} | head -n 1000000"
    async with pod(cri, "flood") as (id, config):
        main = await cri.create(id, config, "main", ["sh", "-c", script], linux=secured())
        started = time.monotonic()
        await cri.start(main)
        slowest = 0.0

        async def over() -> bool:
            nonlocal slowest
            asked = time.monotonic()
            state = (await cri.status(main)).state
            slowest = max(slowest, time.monotonic() - asked)
            return bool(state == pb.ContainerState.CONTAINER_EXITED)

        await until(over, timeout_s=60)
        elapsed = time.monotonic() - started
        size = size_of((await cri.status(main)).log_path)
    speed = 100_000_000 / elapsed / 1e6
    assert size > 1_000_000 * 140
    # Far below what is measured on a quiet machine, since this one may have much else to do.
    assert speed > 8, f"{speed:.0f} MB/s"
    assert slowest < 1.0
