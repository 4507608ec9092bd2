"""Children started by posix_spawn: what they are given, how they end, and what becomes of them when nobody waits."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest
import uvloop

from sharedrt.drivers.children import Child, run, run_whole
from sharedrt.model.faults import DeadlineExceeded, FailedPrecondition

SH = "/bin/sh"


async def test_what_a_child_is_given(tmp_path: Path) -> None:
    read, write = os.pipe()
    ready, tell = os.pipe()
    try:
        script = (
            "read line; echo in:$line:; pwd; echo $TZ $OWN $HOME; echo err >&2; read told <&4; echo $told >&3;"
            " grep SigIgn /proc/self/status"
        )
        os.write(tell, b"told\n")
        child = await Child.start(
            [SH, "-c", script], env={"OWN": "mine"}, pass_fds=(write, ready), folder=str(tmp_path)
        )
        finished = await child.wait()
        assert os.read(read, 10) == b"told\n"
    finally:
        for fd in (read, write, ready, tell):
            os.close(fd)
    lines = finished.output.splitlines()
    assert lines[:4] == ["in::", str(tmp_path), "UTC0 mine", "err"]
    assert len(lines) == 5
    assert int(lines[4].split()[1], 16) & (1 << signal.SIGPIPE - 1) == 0


async def test_a_child_is_given_nothing_else() -> None:
    read, write = os.pipe()
    # Open for children at this moment, as the event loop opens the ends of pipes for a child of its own.
    os.set_inheritable(write, True)
    try:
        finished = await run(["/bin/ls", "/proc/self/fd"], timeout_s=30)
    finally:
        os.close(read)
        os.close(write)
    assert finished.output.split() == ["0", "1", "2", "3"]  # the last one is how it looks


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_descriptors_come_in_the_order_given_whatever_their_numbers(order: Sequence[int]) -> None:
    """In a process whose descriptors are just those that the child's are to be."""
    script = f"""
import os
from sharedrt.drivers.spawn import spawn
for name in os.listdir("/proc/self/fd"):
    if int(name) > 2:
        try: os.close(int(name))
        except OSError: pass
saved = os.dup(1)
for number in range(3):
    os.close(number)
for number in range(3):
    assert os.memfd_create(str(number), 0) == number
words = [f"echo {{source}} >&{{number}}" for number, source in enumerate({order!r})]
given = [*{order!r}]
pid = spawn(["/bin/sh", "-c", ";".join(words)], {{}}, descriptors=given)
os.waitpid(pid, 0)
os.write(saved, b" ".join(os.pread(number, 9, 0).strip() for number in range(3)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0 1 2", "")


def test_the_end_of_a_child_of_the_loop_does_not_wait_for_one_of_ours() -> None:
    """uvloop has the pipes of its own open for children for a moment; a thread of ours may start one just then."""

    async def rounds() -> None:
        for _ in range(30):
            ours = asyncio.gather(*(Child.start(["/bin/sleep", "60"]) for _ in range(4)))
            await asyncio.sleep(0)  # the threads are at it
            theirs = await asyncio.create_subprocess_exec("/bin/true", stdout=-1, stderr=-1)
            sleepers = await ours
            try:
                async with asyncio.timeout(30):
                    await theirs.communicate()
            finally:
                for sleeper in sleepers:
                    sleeper.kill()
                    await sleeper.wait()

    uvloop.run(rounds())


async def test_a_command_that_leaves_something_running() -> None:
    script = "cat; echo no >&2; sleep 4711 & echo $! >&2"
    async with asyncio.timeout(30):
        finished = await run_whole([SH, "-c", script], timeout_s=None, stdin=b"words")
    no, pid = finished.errors.split()
    os.kill(int(pid), signal.SIGKILL)
    assert (finished.output, no) == ("words", "no")


@pytest.mark.parametrize("by", ["timeout", "cancel"])
async def test_a_command_is_killed_with_all_that_it_started(by: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 4712 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait"
    timeout_s = 0.5 if by == "timeout" else None
    task = asyncio.ensure_future(run_whole([SH, "-c", script], timeout_s=timeout_s))  # noqa: TID251
    async with asyncio.timeout(30):
        while not pids.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if by == "cancel":
            task.cancel()
        with pytest.raises(DeadlineExceeded if by == "timeout" else asyncio.CancelledError):
            await task
        for pid in pids.read_text().split():
            while is_running(pid):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


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
    async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
        while sleeping() or descriptors() != before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def is_running(pid: str) -> bool:
    """Whoever reaps it, if anybody does: a zombie does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def sleeping() -> list[str]:
    """Ours that still run, or are not reaped."""
    with open("/proc/self/task/" + str(os.getpid()) + "/children") as file:
        return file.read().split()
