"""The whole driver on real conmon, runc and crun."""

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sharedrt.drivers.cgroups import CgroupManager
from sharedrt.drivers.cgroups.parse import net_dev
from sharedrt.drivers.oci import lifecycle
from sharedrt.drivers.oci.bundle import write_bundle
from sharedrt.drivers.oci.hub import AttachHub
from sharedrt.drivers.oci.procs import identify
from sharedrt.drivers.oci.runtime import OciDriver
from sharedrt.drivers.oci.settings import OciSettings
from sharedrt.drivers.oci.state import load_state
from sharedrt.model.faults import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    StartFailed,
)
from sharedrt.model.ids import ContainerId, ContainerKey, ExecId, Namespace
from sharedrt.model.records import ExecRecord
from sharedrt.model.spec import ContainerSpec as Spec
from sharedrt.model.spec import ImageDefaults, Resources, Rlimit, Security, User
from sharedrt.model.stdio import StdioSession, StdStream
from tests.drivers.oci.conftest import World, left_over_processes, until
from tests.real import waiting

pytestmark = pytest.mark.real


async def read_all(session: StdioSession) -> dict[StdStream, bytes]:
    found = {StdStream.STDOUT: b"", StdStream.STDERR: b""}
    while (output := await session.read()) is not None:
        found[output[0]] += output[1]
    return found


async def read_until(session: StdioSession, wanted: bytes) -> bytes:
    found = b""
    async with asyncio.timeout(60):
        while wanted not in found:
            output = await session.read()
            assert output is not None, found
            found += output[1]
    return found


def record(key: ContainerKey, *args: str, **fields: object) -> ExecRecord:
    return ExecRecord(ExecId(os.urandom(8).hex()), key.id, args, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [0, 3, 255])
async def test_exit_code_and_log(world: World, code: int) -> None:
    before = time.time_ns()
    key, identity = await world.run("sh", "-c", f"echo out; echo err >&2; hostname; exit {code}")
    status = await world.driver.wait(key, identity)
    assert status.exit_code == code
    assert not status.oom_killed
    assert before < status.finished_ns <= time.time_ns()
    assert sorted(world.log(key).split()) == ["err", "out", "testhost"]
    assert not world.driver.alive(identity)
    assert await world.driver.wait(key, identity) == status  # again, and also long after


async def test_signals_and_stop(world: World) -> None:
    key, identity = await world.run(
        "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    )
    await until(lambda: "ready" in world.log(key))
    await world.driver.kill(key, signal.SIGTERM)
    assert (await world.driver.wait(key, identity)).exit_code == 7
    with pytest.raises(NotFound):
        await world.driver.kill(key, signal.SIGKILL)


async def test_kill_everyone(world: World) -> None:
    key, identity = await world.run("sh", "-c", "sleep 100 & sleep 100 & wait")
    await until(lambda: world.pid_count(key) == 3)
    assert identity.pid in await world.driver.pids(key)
    await world.driver.kill(key, signal.SIGKILL, all=True)
    assert (await world.driver.wait(key, identity)).exit_code == 137
    assert await world.driver.pids(key) == []


async def test_created_is_not_running(world: World) -> None:
    request = world.request("sleep", "100")
    identity = await world.driver.create(request)
    assert world.driver.alive(identity)
    with pytest.raises(FailedPrecondition):
        await world.driver.exec_sync(request.key, ["true"], timeout_s=5)
    await world.driver.delete(request.key)
    assert not world.driver.alive(identity)
    await world.driver.delete(request.key)  # idempotent
    assert left_over_processes(world.folder) == []


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("nosuch", 127, "executable file not found"),
        ("/bin/nosuch", 127, "no such file or directory"),
        ("/etc", 126, "permission denied"),
        ("/etc/noexec", 126, "permission denied"),
    ],
)
@pytest.mark.parametrize("tty", [False, True])
async def test_commands_that_cannot_start(
    world: World, command: str, code: int, words: str, tty: bool
) -> None:
    with pytest.raises(StartFailed) as failure:
        await world.driver.create(world.request(command, spec=Spec(tty=tty)))
    assert failure.value.exit_code == code
    assert words in failure.value.reason
    assert "\n" not in failure.value.reason
    assert left_over_processes(world.folder) == []


async def test_nothing_to_run(world: World) -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        await world.driver.create(world.request())


async def test_unknown_handler_and_user(world: World) -> None:
    request = world.request("true")
    with pytest.raises(InvalidArgument):
        await world.driver.create(replace(request, handler="kata"))
    with pytest.raises(NotFound):
        await world.driver.create(world.request("true", spec=Spec(user=User("nobody-here"))))


async def test_process_has_what_was_asked(world: World) -> None:
    script = "id -u; id -g; id -G; pwd; echo $A $B $GONE; grep CapEff /proc/self/status; ls /sys/fs/cgroup | head -1"
    spec = Spec(
        args=("sh", "-c", script),
        user=User("web", additional_gids=(4242,)),
        cwd="/made/by/runtime",
        env=("B=2", "GONE"),
        init=True,
    )
    request = world.request(spec=spec, image=ImageDefaults(env=("A=1", "GONE=x")))
    identity = await world.driver.create(request)
    await world.driver.start(request.key)
    assert (await world.driver.wait(request.key, identity)).exit_code == 0, world.log(request.key)
    lines = world.log(request.key).splitlines()
    assert lines[:5] == ["1000", "1001", "1001 29 4242", "/made/by/runtime", "1 2"]
    assert lines[5].split()[1] == "0" * 16


def more_files_than_ours(request: pytest.FixtureRequest) -> int:
    """The most that the kernel gives to anyone; this process has a lower limit until the test ends."""
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
    ours = min(hard, most - 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, ours), ours))
    return most


async def test_limits_beyond_ours_are_cut(world: World, request: pytest.FixtureRequest) -> None:
    free = "CAP_SYS_RESOURCE" in world.driver._context.facts.bounding
    wanted = more_files_than_ours(request) if free else 1 << 30
    spec = Spec(
        args=("sh", "-c", "ulimit -Hn; cat /proc/self/oom_score_adj"),
        rlimits=(Rlimit("nofile", 100, wanted),),
        oom_score_adj=-999,
    )
    asked = world.request(spec=spec)
    identity = await world.driver.create(asked)
    await world.driver.start(asked.key)
    assert (await world.driver.wait(asked.key, identity)).exit_code == 0
    limit, score = world.log(asked.key).split()
    if free:
        assert (limit, score) == (str(wanted), "-999")
    else:
        assert int(limit) < wanted
        assert score == "0"


async def test_attach_before_start_loses_nothing(world: World) -> None:
    script = "echo one; echo two >&2; cat; echo end"
    request = world.request("sh", "-c", script, spec=Spec(open_stdin=True, stdin_once=True))
    identity = await world.driver.create(request)
    async with await world.driver.attach(request.key, tty=False) as session:
        await world.driver.start(request.key)
        await session.write(b"typed " * 5000)
        await session.close_stdin()
        found = await read_all(session)
        assert await session.wait() == 0
    assert found == {
        StdStream.STDOUT: b"one\n" + b"typed " * 5000 + b"end\n",
        StdStream.STDERR: b"two\n",
    }
    assert (await world.driver.wait(request.key, identity)).exit_code == 0
    with pytest.raises(FailedPrecondition):
        await world.driver.attach(request.key, tty=False)


async def test_attached_clients_come_and_go(world: World) -> None:
    """A watcher that leaves closes neither stdin (stdin_once) nor another client."""
    request = world.request("cat", spec=Spec(open_stdin=True, stdin_once=True))
    identity = await world.driver.create(request)
    await world.driver.start(request.key)
    watcher = await world.driver.attach(request.key, tty=False)
    await watcher.close()
    one = await world.driver.attach(request.key, tty=False)
    two = await world.driver.attach(request.key, tty=False)
    await one.write(b"hello\n")
    assert await read_until(two, b"hello") == b"hello\n"
    await two.close()
    await one.write(b"again\n")
    await read_until(one, b"again")
    await one.close_stdin()
    assert await one.read() is None
    await one.close()
    assert (await world.driver.wait(request.key, identity)).exit_code == 0


async def test_stdin_without_stdin_once_outlives_clients(world: World) -> None:
    key, identity = await world.run("cat", spec=Spec(open_stdin=True))
    for _ in range(2):
        async with await world.driver.attach(key, tty=False) as session:
            await session.write(b"x\n")
            await read_until(session, b"x")
            await session.close_stdin()
            with pytest.raises(FailedPrecondition):
                await session.write(b"y")
    await asyncio.sleep(0.1)
    assert world.driver.alive(identity)


async def test_stdin_that_is_not_open(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    async with await world.driver.attach(key, tty=False) as session:
        with pytest.raises(FailedPrecondition):
            await session.write(b"x")
        with pytest.raises(FailedPrecondition):
            await session.resize(80, 24)


async def test_a_slow_watcher_stops_nobody(world: World) -> None:
    """It is dropped with a fault, and the container writes on."""
    key, identity = await world.run("sh", "-c", "sleep 0.3; head -c 12000000 /dev/zero; echo done")
    session = await world.driver.attach(key, tty=False)
    status = await asyncio.wait_for(world.driver.wait(key, identity), 30)
    assert status.exit_code == 0
    with pytest.raises(ResourceExhausted):
        await read_all(session)
    await session.close()


async def test_a_slow_owner_loses_nothing(world: World) -> None:
    """docker run ... | slow: the container waits."""
    request = world.request("sh", "-c", "head -c 3000000 /dev/zero; exit 4", log=False)
    identity = await world.driver.create(request)
    async with await world.driver.attach(request.key, tty=False) as session:
        await world.driver.start(request.key)
        await asyncio.sleep(0.3)
        assert world.driver.alive(identity)
        total = 0
        while (output := await session.read()) is not None:
            total += len(output[1])
        assert total == 3_000_000
        assert await session.wait() == 4


async def test_a_slow_owner_does_not_hide_the_exit(world: World) -> None:
    request = world.request("sh", "-c", "head -c 3000000 /dev/zero", log=False)
    identity = await world.driver.create(request)
    session = await world.driver.attach(request.key, tty=False)
    await world.driver.start(request.key)
    waiting = asyncio.wait_for(world.driver.wait(request.key, identity), 60)
    await asyncio.sleep(0.2)
    await world.driver.kill(request.key, signal.SIGKILL)
    assert (await waiting).exit_code == 137
    await session.close()


async def test_a_conmon_that_does_not_answer_keeps_no_client_of_another_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = (world.request("sleep", "100") for _ in range(2))
    for request in (stuck, other):
        await world.driver.create(request)
    connect, waits = AttachHub.connect, asyncio.Event()

    async def connect_or_wait(hub: AttachHub) -> None:
        if hub.name == stuck.key.id:
            waits.set()
            await asyncio.Event().wait()
        await connect(hub)

    monkeypatch.setattr(AttachHub, "connect", connect_or_wait)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(world.driver.attach(stuck.key, tty=False))
        await waits.wait()
        async with asyncio.timeout(60):
            await (await world.driver.attach(other.key, tty=False)).close()
        waiting.cancel()


async def test_terminal_and_its_size(world: World) -> None:
    request = world.request("sh", spec=Spec(tty=True, open_stdin=True))
    identity = await world.driver.create(request)
    async with await world.driver.attach(request.key, tty=False) as session:
        await world.driver.start(request.key)
        assert session.tty
        for width, height in ((80, 24), (132, 43), (100, 50)):
            await session.resize(width, height)
        # Of two that come in one of its turns conmon applies the older.
        bundle = world.settings.run_dir / "bundles" / request.key.namespace / request.key.id
        state = load_state(bundle)
        assert state is not None
        os.kill(state.conmon_pid, signal.SIGSTOP)
        for columns in (95, 101):
            await world.driver.resize(request.key, columns, 51)
        os.kill(state.conmon_pid, signal.SIGCONT)
        await session.write(b"until stty size | grep -x '51 101'; do :; done; echo $TERM\n")
        await read_until(session, b"51 101\r\nxterm")
        await session.write(b"exit 9\n")
        assert await session.wait() == 9
    assert (await world.driver.wait(request.key, identity)).exit_code == 9


async def test_log_reopen(world: World) -> None:
    key, _ = await world.run("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    log = world.folder / f"{key.id}.log"
    await until(log.read_text)
    old = log.rename(f"{log}.1")
    await world.driver.reopen_log(key)
    assert log.exists()
    size = old.stat().st_size
    await until(log.read_text)
    assert old.stat().st_size == size


async def test_pause_resume_and_stop_while_paused(world: World) -> None:
    key, identity = await world.run("sh", "-c", "while :; do echo t; sleep 0.01; done")
    await world.driver.pause(key)
    with pytest.raises(FailedPrecondition):
        await world.driver.exec_sync(key, ["true"], timeout_s=5)
    log = world.folder / f"{key.id}.log"
    await asyncio.sleep(0.05)
    size = log.stat().st_size
    await asyncio.sleep(0.1)
    assert log.stat().st_size == size
    await world.driver.resume(key)
    with pytest.raises(FailedPrecondition):
        await world.driver.resume(key)
    assert (await world.driver.exec_sync(key, ["true"], timeout_s=5)).exit_code == 0
    await world.driver.pause(key)
    await world.driver.kill(key, signal.SIGKILL)
    assert (await asyncio.wait_for(world.driver.wait(key, identity), 60)).exit_code == 137


async def test_delete_while_paused(world: World) -> None:
    key, identity = await world.run("sleep", "100")
    await world.driver.pause(key)
    await asyncio.wait_for(world.driver.delete(key), 15)
    assert not world.driver.alive(identity)


async def test_out_of_memory(world: World) -> None:
    limits = Resources(memory_bytes=16 << 20, memory_swap_bytes=16 << 20)
    script = "x=a; while :; do x=$x$x; done"
    key, identity = await world.run("sh", "-c", script, spec=Spec(resources=limits))
    status = await asyncio.wait_for(world.driver.wait(key, identity), 60)
    assert status.oom_killed
    assert status.exit_code == 137


async def test_update_and_stats(world: World) -> None:
    limits = Resources(
        memory_bytes=64 << 20, memory_swap_bytes=64 << 20, cpu_shares=512, pids_limit=50
    )
    key, identity = await world.run("sh", "-c", "while :; do :; done", spec=Spec(resources=limits))
    stats = await world.driver.stats(key)
    assert stats.memory.limit_bytes == 64 << 20
    assert stats.pids_limit == 50
    assert stats.pids_current >= 1
    await world.driver.update(
        key,
        Resources(
            memory_bytes=32 << 20,
            memory_swap_bytes=32 << 20,
            cpu_quota_us=20000,
            cpu_period_us=100000,
        ),
    )

    async def throttled() -> bool:
        return (await world.driver.stats(key)).cpu.throttled_periods > 0

    await waiting.until(throttled)
    later = await world.driver.stats(key)
    assert later.memory.limit_bytes == 32 << 20
    assert later.pids_limit == 50
    assert later.cpu.total_ns > stats.cpu.total_ns
    assert later.cpu.periods > 0
    assert later.cpu.system_total_ns >= stats.cpu.system_total_ns
    # A kernel with ipip or gre puts tunl0 or gre0 into every network.
    fresh = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "cat", "/proc/net/dev"), stdout=asyncio.subprocess.PIPE
    )
    bare = net_dev((await fresh.communicate())[0].decode())
    assert await world.driver.network_stats(identity.pid) == bare


async def test_exec_sync(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    result = await world.driver.exec_sync(
        key, ["sh", "-c", "echo out; echo err >&2; exit 5"], timeout_s=10
    )
    assert (result.exit_code, result.stdout, result.stderr) == (5, b"out\n", b"err\n")
    result = await world.driver.exec_sync(
        key, ["head", "-c", "100000", "/dev/zero"], timeout_s=0, limit_bytes=1000
    )
    assert (result.exit_code, len(result.stdout)) == (0, 1000)
    for command, code in (("nosuch", 127), ("/etc", 126)):
        with pytest.raises(StartFailed) as failure:
            await world.driver.exec_sync(key, [command], timeout_s=10)
        assert failure.value.exit_code == code
    result = await world.driver.exec_sync(key, ["sh", "-c", "kill -9 $$"], timeout_s=10)
    assert result.exit_code == 137


async def test_exec_sync_does_not_wait_for_background_children(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    result = await asyncio.wait_for(
        world.driver.exec_sync(key, ["sh", "-c", "sleep 50 & echo x"], timeout_s=20), 5
    )
    assert result.stdout == b"x\n"


async def test_exec_sync_timeout_kills_the_group(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    before = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await world.driver.exec_sync(key, ["sh", "-c", "sleep 99 & sleep 98; true"], timeout_s=0.5)
    assert time.monotonic() - before < 3
    await until(lambda: world.pid_count(key) == 1)


async def test_an_exec_given_up_while_it_starts_leaves_nothing(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    for hundredths in range(1, 16):
        with pytest.raises(DeadlineExceeded):
            await world.driver.exec_sync(key, ["sleep", "99"], timeout_s=hundredths / 100)
    await until(lambda: world.pid_count(key) == 1)
    await until(lambda: not list(world.settings.run_dir.rglob("execs/*")))


async def test_exec_session(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    pids: list[int] = []
    session = await world.driver.exec(
        key,
        record(
            key, "sh", "-c", "echo $X; id -u; pwd; cat; exit 6",
            attach_stdin=True, env=("X=y",), user="web", cwd="/tmp",
        ),
        kill_on_close=True,
        on_pid=pids.append,
    )  # fmt: skip
    async with session:
        assert pids[0] in await world.driver.pids(key)
        await session.write(b"in\n")
        await session.close_stdin()
        assert (await read_all(session))[StdStream.STDOUT] == b"y\n1000\n/tmp\nin\n"
        assert await session.wait() == 6
    assert await session.wait() == 6  # also when closed


async def test_exec_with_terminal(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    session = await world.driver.exec(
        key, record(key, "sh", tty=True, attach_stdin=True), kill_on_close=True, size=(111, 33)
    )
    async with session:
        await session.write(b"stty size\n")
        await read_until(session, b"33 111")
        await session.resize(90, 30)
        await asyncio.sleep(0.05)
        await session.write(b"stty size; tty\n")
        await read_until(session, b"30 90\r\n/dev/")
        await session.write(b"exit 3\n")
        assert await session.wait() == 3


async def test_exec_left_alone_and_killed(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    lives = await world.driver.exec(
        key, record(key, "sh", "-c", "while :; do echo x; sleep 0.01; done"), kill_on_close=False
    )
    await lives.read()
    await lives.close()
    dies = await world.driver.exec(
        key, record(key, "sh", "-c", "sleep 77 & sleep 78"), kill_on_close=True
    )
    await asyncio.sleep(0.2)
    await dies.close()
    assert await dies.wait() == 137
    assert lives.process is not None
    assert world.driver.alive(lives.process)
    lives.kill()
    assert await lives.wait() == 137


async def test_exec_that_is_not_read_waits(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    session = await world.driver.exec(
        key, record(key, "sh", "-c", "head -c 3000000 /dev/zero; exit 2"), kill_on_close=True
    )
    await asyncio.sleep(0.3)
    assert session._queue.size_bytes < 600_000
    assert len((await read_all(session))[StdStream.STDOUT]) == 3_000_000
    assert await session.wait() == 2
    await session.close()


async def test_privileged_exec(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    bounding = world.driver._context.facts.bounding
    for privileged in (False, True):
        session = await world.driver.exec(
            key,
            record(key, "grep", "CapEff", "/proc/self/status", privileged=privileged),
            kill_on_close=True,
        )
        mask = int((await read_all(session))[StdStream.STDOUT].split()[1], 16)
        assert mask.bit_count() == (len(bounding) if privileged else 14)
        await session.close()


async def test_cancelled_exec_leaves_nothing(world: World) -> None:
    key, _ = await world.run("sleep", "100")

    async def begin() -> None:
        await world.driver.exec(key, record(key, "sleep", "50"), kill_on_close=True)

    for delay in (0.0005, 0.002, 0.004, 0.006):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await begin()
                raise AssertionError("it was quicker than expected")
    await until(lambda: world.pid_count(key) == 1)
    execs = world.settings.run_dir / "bundles" / key.namespace / key.id / "execs"
    await until(lambda: list(execs.glob("*")) == [])  # nor need the folder itself be there


async def test_killed_conmon(world: World) -> None:
    key, identity = await world.run("sleep", "100")
    state = load_state(world.settings.run_dir / "bundles" / key.namespace / key.id)
    assert state is not None
    waiting = asyncio.wait_for(world.driver.wait(key, identity), 60)
    os.kill(state.conmon_pid, signal.SIGKILL)
    assert (await waiting).exit_code == 137
    assert not world.driver.alive(identity)


@pytest.mark.parametrize("moved", [False, True], ids=["before its move", "after its move"])
async def test_a_conmon_that_ends_at_once_is_quoted(
    world: World, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    move = world.cgroups.move

    async def move_at_its_end(path: str, pid: int) -> None:
        await until(lambda: identify(pid) is None)
        if not moved:
            await move(path, pid)

    monkeypatch.setattr(world.cgroups, "move", move_at_its_end)
    request = world.request("true")
    folder = world.folder / "a-folder.log"
    folder.mkdir()
    with pytest.raises(StartFailed, match=r"(?i)log") as caught:
        await world.driver.create(replace(request, log_path=str(folder)))
    assert "No such process" not in str(caught.value)


async def test_a_new_driver_adopts(world: World) -> None:
    """Exits while no daemon runs, exits after, and attach, exec, delete by the new one."""
    gone, gone_identity = await world.run("sh", "-c", "sleep 0.2; exit 11")
    lives, lives_identity = await world.run(
        "sh", "-c", "read x; exit 12", spec=Spec(open_stdin=True, tty=True)
    )
    orphan, orphan_identity = await world.run("sleep", "100")
    state = load_state(world.settings.run_dir / "bundles" / orphan.namespace / orphan.id)
    assert state is not None
    os.kill(state.conmon_pid, signal.SIGKILL)
    await asyncio.sleep(0.5)
    driver = await world.another_driver()
    assert (await driver.wait(gone, gone_identity)).exit_code == 11
    assert driver.alive(lives_identity)
    assert (await driver.exec_sync(lives, ["echo", "hi"], timeout_s=5)).stdout == b"hi\n"
    async with await driver.attach(lives, tty=True) as session:
        await session.write(b"x\n")
        assert await session.wait() == 12
    assert (await asyncio.wait_for(driver.wait(orphan, orphan_identity), 60)).exit_code == 137


async def test_create_again_over_leftovers(world: World) -> None:
    request = world.request("sleep", "100")
    first = await world.driver.create(request)
    bundle = world.settings.run_dir / "bundles" / request.key.namespace / request.key.id
    (bundle / "sharedrt.json").write_text("{")  # as after a crash in the middle
    driver = await world.another_driver()
    second = await driver.create(request)
    await driver.start(request.key)
    assert driver.alive(second)
    assert not driver.alive(first)


async def test_cancelled_create_leaves_nothing(world: World) -> None:
    for delay in (0.002, 0.01, 0.02, 0.03, 0.05):
        request = world.request("sleep", "100")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await world.driver.create(request)
        await world.driver.delete(request.key)
    assert left_over_processes(world.folder) == []


async def test_a_cancelled_create_waits_for_its_thread(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be stopped: what it still writes has to be there when all is removed."""
    begun, let_go = threading.Event(), threading.Event()

    def late(bundle: Path, exits: Path, config: dict[str, Any]) -> None:
        begun.set()
        let_go.wait(20)
        write_bundle(bundle, exits, config)

    monkeypatch.setattr(lifecycle, "write_bundle", late)
    async with asyncio.TaskGroup() as group:
        creating = group.create_task(world.driver.create(world.request("true")))
        assert await asyncio.to_thread(begun.wait, 20)
        creating.cancel()
        await asyncio.wait({creating}, timeout=0.2)
        assert not creating.done()
        let_go.set()
    assert creating.cancelled()
    assert await world.driver.leftovers() == []


async def test_same_id_in_two_namespaces(world: World) -> None:
    key = world.key("test")
    twin = ContainerKey(Namespace("tenant-b"), key.id)
    world.made.append(twin)
    identities = []
    for each in (key, twin):
        request = world.request("sleep", "100", key=each)
        identities.append(await world.driver.create(request))
        await world.driver.start(each)
    assert set(await world.driver.pids(key)).isdisjoint(await world.driver.pids(twin))
    await world.driver.delete(key)
    assert world.driver.alive(identities[1])


async def test_what_is_on_disk(world: World) -> None:
    """For removing what no row owns; a second driver sees the same."""
    assert await world.driver.leftovers() == []
    key, _ = await world.run("sleep", "100")
    driver = await world.another_driver()
    assert await driver.leftovers() == [key]
    await driver.delete(key)
    assert await driver.leftovers() == []


async def test_a_missing_log_folder_is_made(world: World) -> None:
    request = replace(world.request("echo", "x"), log_path=str(world.folder / "new" / "x.log"))
    identity = await world.driver.create(request)
    await world.driver.start(request.key)
    await world.driver.wait(request.key, identity)
    assert (world.folder / "new" / "x.log").read_text().endswith(" stdout F x\n")


async def test_purge(world: World) -> None:
    key, identity = await world.run("true")
    await world.driver.wait(key, identity)
    await world.driver.delete(key)
    await world.driver.purge()
    assert os.listdir(world.settings.run_dir) == os.listdir(world.settings.state_dir) == []
    assert not world.parent_cgroups()
    key, identity = await world.run("sh", "-c", "exit 4")  # and it serves on
    assert (await world.driver.wait(key, identity)).exit_code == 4


async def test_exec_ids(world: World) -> None:
    key, _ = await world.run("sleep", "100")
    one = record(key, "sleep", "50")
    session = await world.driver.exec(key, one, kill_on_close=True)
    with pytest.raises(AlreadyExists):
        await world.driver.exec(key, one, kill_on_close=True)
    await session.close()
    assert await session.wait() == 137
    again = await world.driver.exec(key, replace(one, args=("true",)), kill_on_close=True)
    assert await again.wait() == 0
    await again.close()
    with pytest.raises(InvalidArgument):
        await world.driver.exec(key, replace(one, id=ExecId("../x")), kill_on_close=True)


async def test_unknown_container(world: World) -> None:
    key = ContainerKey(Namespace("test"), ContainerId("none"))
    with pytest.raises(NotFound):
        await world.driver.stats(key)
    with pytest.raises(NotFound):
        await world.driver.kill(key, 9)
    await world.driver.delete(key)


async def test_privileged_and_confined(world: World) -> None:
    script = "exec 2>&1; mount -t tmpfs none /tmp && echo mounted; (: > /proc/sys/kernel/ns_last_pid); ls /dev | wc -l"
    outputs = []
    for privileged in (False, True):
        spec = Spec(args=("sh", "-c", script), security=Security(privileged=privileged))
        request = world.request(spec=spec)
        identity = await world.driver.create(request)
        await world.driver.start(request.key)
        await world.driver.wait(request.key, identity)
        outputs.append(world.log(request.key))
    assert "mounted" not in outputs[0]
    assert "Read-only" in outputs[0]
    assert "mounted" in outputs[1]
    assert int(outputs[1].split()[-1]) > int(outputs[0].split()[-1])


def test_on_uvloop(tmp_path: Path) -> None:
    """The daemon's loop: pidfds, SEQPACKET sockets and pipes work on it as on asyncio's."""

    async def main() -> None:
        settings = OciSettings(
            tmp_path / "run",
            tmp_path / "state",
            default_handler="runc",
            cgroup_parent=f"/srt-oci-{secrets.token_hex(4)}",
        )
        cgroups = CgroupManager("cgroupfs")
        driver = await OciDriver.open(settings, cgroups)
        world = World(tmp_path, "runc", settings, cgroups, driver)
        try:
            request = world.request("cat", spec=Spec(open_stdin=True, stdin_once=True))
            identity = await driver.create(request)
            async with await driver.attach(request.key, tty=False) as session:
                await driver.start(request.key)
                assert (
                    await driver.exec_sync(request.key, ["echo", "x"], timeout_s=9)
                ).stdout == b"x\n"
                await session.write(b"z" * 100_000)
                await session.close_stdin()
                assert len((await read_all(session))[StdStream.STDOUT]) == 100_000
            assert (await driver.wait(request.key, identity)).exit_code == 0
        finally:
            for key in world.made:
                await driver.delete(key)
            await driver.close()
            assert await cgroups.remove(settings.cgroup_parent)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert left_over_processes(tmp_path) == []
