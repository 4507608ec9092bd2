"""Children started by posix_spawn: what they are given, how they end, and what becomes of them when nobody waits."""

import asyncio
import os
import signal

import pytest

from sharedrt.drivers.oci.children import Child, run
from sharedrt.drivers.oci.spawn import keep_to_ourselves
from sharedrt.model.faults import DeadlineExceeded, FailedPrecondition

SH = "/bin/sh"


async def test_what_a_child_is_given() -> None:
    read, write = os.pipe()
    secret, other = os.pipe()
    given = os.dup(other)
    os.set_inheritable(given, True)
    keep_to_ourselves()
    try:
        script = (
            f"read line; echo in:$line:; pwd; echo $TZ $OWN $HOME; echo err >&2; echo x > /proc/self/fd/{write};"
            f" readlink /proc/self/fd/{secret} /proc/self/fd/{given}; grep SigIgn /proc/self/status"
        )
        child = await Child.start([SH, "-c", script], env={"OWN": "mine"}, pass_fds=(write,))
        finished = await child.wait()
        assert os.read(read, 10) == b"x\n"
    finally:
        for fd in (read, write, secret, other, given):
            os.close(fd)
    lines = finished.output.splitlines()
    assert lines[:4] == ["in::", "/", "UTC0 mine", "err"]
    # No other descriptor of ours, not even one that was left open for children.
    assert len(lines) == 5
    assert int(lines[4].split()[1], 16) & (1 << signal.SIGPIPE - 1) == 0


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", -9), ("true", 0)])
async def test_how_it_ended(script: str, code: int) -> None:
    assert (await run([SH, "-c", script], timeout_s=10)).exit_code == code


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FailedPrecondition, match="No such file"):
        await run(["/no/such/program"], timeout_s=10)
    with pytest.raises(FailedPrecondition, match="Permission denied"):
        await run(["/etc/passwd"], timeout_s=10)


async def test_time_is_over() -> None:
    with pytest.raises(DeadlineExceeded):
        await run(["/bin/sleep", "600"], timeout_s=0.1)


async def test_one_that_nobody_waits_for_is_reaped() -> None:
    child = await Child.start(["/bin/true"])
    async with asyncio.timeout(10):
        while os.path.exists(f"/proc/{child.pid}"):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
    assert (await child.wait()).exit_code == 0


async def test_a_cancelled_start_leaves_nothing() -> None:
    before = descriptors()
    for _ in range(20):
        task = asyncio.ensure_future(Child.start(["/bin/sleep", "7321"]))  # noqa: TID251
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(10):
        while sleeping() or descriptors() != before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def sleeping() -> list[str]:
    """Ours that still run, or are not reaped."""
    with open("/proc/self/task/" + str(os.getpid()) + "/children") as file:
        return file.read().split()
