"""A container's life when any step of it fails, hangs, is cut off, or comes at the same time as another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sharedrt.model.faults import AlreadyDone, FailedPrecondition, Fault, Internal, NotFound
from sharedrt.model.ids import ContainerId, ContainerKey
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.services.containers import restarts
from sharedrt.services.contracts import WaitCondition
from tests.services.rig import ID, MOBY, Daemon, Machine, actions, container, machine

KEY = ContainerKey(MOBY, ID)
STEPS_MAX = 40


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    with capture_logs() as entries:  # to print the tracebacks of dead daemons takes seconds
        yield entries


@pytest.fixture
async def daemon(host: Machine) -> Daemon:
    await host.add(container())
    return await host.daemon()


def left(host: Machine) -> list[str]:
    """What is on the host beside logs, which stay as long as the container."""
    return [thing for thing in sorted(host.world.things) if not thing.startswith("folder /state")]


def record(daemon: Daemon) -> ContainerRecord:
    return daemon.services.containers.by_id(ID)


async def stored(host: Machine) -> ContainerRecord | None:
    return await host.database.within(MOBY).read(lambda tx: tx.containers.get(ID))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is another task's doing
            await asyncio.sleep(0.001)


async def failure(work: Awaitable[object]) -> BaseException | None:
    """What it raises, a dead daemon's errors too."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - a dead daemon's too
        return error
    return None


async def events(daemon: Daemon) -> list[str]:
    store = daemon.services.events._store
    return actions(await store.read(lambda tx: tx.events.since(0, 1 << 62, 1000)))


async def each_step(
    folder: Path, what: str, fields: dict[str, Any]
) -> AsyncIterator[tuple[Machine, Daemon]]:
    """A machine for every step of a start, until a start has fewer steps."""
    for at in range(1, STEPS_MAX):
        async with machine(folder / str(at)) as host:
            await host.add(container(**fields))
            daemon = await host.daemon(at=at, what=what)
            yield host, daemon
            if not daemon.epoch.reached.is_set():
                assert at > 8, "the steps of a start were not counted"
                return
    raise AssertionError("a start without an end")


@pytest.mark.parametrize("what", ["fail", "fail after"])
async def test_a_start_that_fails_at_any_step_leaves_nothing(tmp_path: Path, what: str) -> None:
    async for host, daemon in each_step(tmp_path, what, {}):
        error = await failure(daemon.containers.start(ID))
        if error is not None:
            assert isinstance(error, Internal)
            assert "failed" in str(error)
            assert left(host) == []
            assert record(daemon).state is ContainerState.EXITED
            assert record(daemon).reason == "ContainerCannotRun"
            assert str(error) == record(daemon).message
            assert await stored(host) == record(daemon)
            # And nothing stands in the way of another try.
            await daemon.containers.start(ID)
        assert record(daemon).state is ContainerState.RUNNING
        assert host.world.has("oci")


async def test_the_first_error_is_shown_when_the_undo_fails_too(tmp_path: Path) -> None:
    for stuck in ("oci", "veth", "pins", "mount"):
        async with machine(tmp_path / stuck) as host:
            await host.add(container())
            daemon = await host.daemon()
            host.world.stuck = stuck
            daemon.epoch.at, daemon.epoch.what = 99, ""
            start = daemon.oci.start

            async def refuse(key: ContainerKey) -> None:
                raise Internal("start", "the first error")

            daemon.oci.start = refuse  # type: ignore[method-assign]
            with pytest.raises(Internal, match="the first error"):
                await daemon.containers.start(ID)
            assert all(stuck in thing for thing in left(host) if "folder" not in thing)
            assert any(stuck in thing for thing in left(host))
            # What could not be undone is undone by whoever comes next.
            host.world.stuck = ""
            daemon.oci.start = start  # type: ignore[method-assign]
            await daemon.containers.remove(ID)
            assert left(host) == []


@pytest.mark.parametrize("what", ["kill", "kill after"])
async def test_a_daemon_killed_at_any_step_of_a_start_is_recovered_from(
    tmp_path: Path, what: str
) -> None:
    async for host, daemon in each_step(tmp_path, what, {}):
        acknowledged = await failure(daemon.containers.start(ID)) is None
        following = await host.daemon()
        found = record(following)
        if found.state is ContainerState.RUNNING:
            assert len(host.world.has("oci")) == len(host.world.has("veth")) == 1
            await following.containers.stop(ID, grace_s=0)
        else:
            assert not acknowledged
            assert found.state is ContainerState.CREATED
        assert left(host) == []


async def test_a_daemon_stopped_at_any_step_of_a_start_undoes_or_finishes_it(
    tmp_path: Path,
) -> None:
    async for host, daemon in each_step(tmp_path, "hang", {}):
        start = asyncio.ensure_future(daemon.containers.start(ID))  # noqa: TID251
        await until(lambda: daemon.epoch.reached.is_set() or start.done())  # noqa: B023
        closing = asyncio.ensure_future(daemon.services.aclose())  # noqa: TID251
        await asyncio.sleep(0.01)
        daemon.epoch.go_on.set()
        await closing
        await asyncio.gather(start, return_exceptions=True)
        row = await stored(host)
        assert row is not None
        if row.state is ContainerState.RUNNING:
            assert host.world.has("oci")
        else:
            assert left(host) == []


async def test_a_client_that_goes_away_does_not_stop_a_start(host: Machine) -> None:
    await host.add(container())
    daemon = await host.daemon(at=3, what="hang")
    start = asyncio.ensure_future(daemon.containers.start(ID))  # noqa: TID251
    await daemon.epoch.reached.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    daemon.epoch.go_on.set()
    await until(lambda: daemon.services.containers.is_running(ID))
    assert record(daemon).state is ContainerState.RUNNING


async def test_an_end_is_recorded_cleaned_up_and_told(host: Machine, daemon: Daemon) -> None:
    await daemon.containers.start(ID)
    waiting = asyncio.ensure_future(daemon.containers.wait(ID))  # noqa: TID251
    await asyncio.sleep(0)
    daemon.oci.end(KEY, 3)
    ended = await waiting
    assert (ended.state, ended.exit_code, ended.reason) == (ContainerState.EXITED, 3, "Error")
    assert ended.finished_ns >= ended.started_ns
    assert left(host) == []
    assert await events(daemon) == ["connect", "start", "disconnect", "die"]


async def test_private_variables_are_the_process_own(host: Machine, daemon: Daemon) -> None:
    with daemon.containers.private_env(ID, ("TOKEN=secret",)):
        await daemon.containers.start(ID)
    assert "TOKEN=secret" in daemon.oci.environments[-1]
    assert "secret" not in repr(record(daemon))
    assert "secret" not in repr(await stored(host))
    await daemon.containers.restart(ID, grace_s=0)
    assert "TOKEN=secret" not in daemon.oci.environments[-1]


async def test_out_of_memory_is_told_with_the_end(daemon: Daemon) -> None:
    await daemon.containers.start(ID)
    daemon.oci.end(KEY, 137, oom_killed=True)
    ended = await daemon.containers.wait(ID)
    assert (ended.reason, ended.oom_killed) == ("OOMKilled", True)
    assert await events(daemon) == ["connect", "start", "disconnect", "oom", "die"]


async def test_a_start_right_after_an_end_is_not_undone_by_its_clean_up(
    host: Machine, daemon: Daemon
) -> None:
    for _ in range(5):
        await daemon.containers.start(ID)
        daemon.oci.end(KEY, 0)
        await until(lambda: not daemon.services.containers.is_running(ID))
    await daemon.containers.start(ID)
    await asyncio.sleep(0.02)
    assert daemon.services.containers.is_running(ID)
    assert host.world.has("oci")
    assert host.world.has("mount")


async def test_an_end_in_the_middle_of_a_change_is_not_lost(host: Machine, daemon: Daemon) -> None:
    await daemon.containers.start(ID)
    for name in ("one", "two", "three"):
        change = asyncio.ensure_future(daemon.containers.rename(ID, name))  # noqa: TID251
        daemon.oci.end(KEY, 1)
        await change
        await daemon.containers.wait(ID)
        assert (record(daemon).state, record(daemon).name) == (ContainerState.EXITED, name)
        assert await stored(host) == record(daemon)
        await daemon.containers.start(ID)


async def test_a_full_disk_at_the_commit_of_a_start(host: Machine, daemon: Daemon) -> None:
    wire = daemon.oci.start

    async def fill(key: ContainerKey) -> None:
        await wire(key)
        host.world.disk_full = True

    daemon.oci.start = fill  # type: ignore[method-assign]
    with pytest.raises(Fault, match="no space left"):
        await daemon.containers.start(ID)
    daemon.oci.start = wire  # type: ignore[method-assign]
    # The endpoint's row cannot be deleted yet; nothing runs and nothing is mounted.
    assert [t for t in left(host) if t.startswith(("oci", "mount", "veth"))] == []
    host.world.disk_full = False
    await daemon.containers.start(ID)
    assert daemon.services.containers.is_running(ID)


async def test_an_end_that_cannot_be_recorded_is_recorded_later(
    host: Machine, daemon: Daemon
) -> None:
    await daemon.containers.start(ID)
    host.world.disk_full = True
    daemon.oci.end(KEY, 4)
    await until(lambda: record(daemon).state is ContainerState.EXITED)
    assert host.world.has("oci"), "the exit file is the only witness"
    host.world.disk_full = False
    ended = await daemon.containers.wait(ID)
    assert ended.exit_code == 4
    assert await stored(host) == ended
    assert left(host) == []


# ---------------------------------------------------------------- stop, kill, remove


async def test_stop_kills_after_the_grace(daemon: Daemon) -> None:
    daemon.oci.ignores_term = True
    await daemon.containers.start(ID)
    await daemon.containers.stop(ID, grace_s=0.05)
    assert record(daemon).exit_code == 137
    assert [c for c in daemon.world.calls if c.startswith("kill")] == ["kill 15", "kill 9"]
    with pytest.raises(AlreadyDone):
        await daemon.containers.stop(ID)
    told = ["connect", "start", "kill", "kill", "disconnect", "die", "stop"]
    assert await events(daemon) == told


@pytest.mark.parametrize("second", ["stop", "remove", "kill", "restart"])
async def test_nobody_queues_behind_a_long_grace(daemon: Daemon, second: str) -> None:
    daemon.oci.ignores_term = True
    await daemon.containers.start(ID)
    first = asyncio.ensure_future(daemon.containers.stop(ID, grace_s=60))  # noqa: TID251
    await asyncio.sleep(0.01)
    async with asyncio.timeout(2):
        match second:
            case "stop":
                await daemon.containers.stop(ID, grace_s=0)
            case "remove":
                await daemon.containers.remove(ID, force=True)
            case "kill":
                await daemon.containers.kill(ID)
            case "restart":
                await daemon.containers.restart(ID, grace_s=0)
        await first
    gone = second == "remove"
    assert (daemon.services.containers.list() == []) is gone
    if second == "restart":
        assert daemon.services.containers.is_running(ID)


async def test_a_paused_container_can_be_stopped_and_killed(daemon: Daemon) -> None:
    for end in (daemon.containers.stop, daemon.containers.kill, daemon.containers.restart):
        await daemon.containers.start(ID)
        await daemon.containers.pause(ID)
        await end(ID)
        assert not record(daemon).paused
        if daemon.services.containers.is_running(ID):
            await daemon.containers.stop(ID, grace_s=0)
    daemon.oci.ignores_term = True
    await daemon.containers.start(ID)
    await daemon.containers.pause(ID)
    await daemon.containers.stop(ID, grace_s=0.02)
    assert record(daemon).exit_code == 137


async def test_a_pause_that_fails_leaves_it_running(daemon: Daemon) -> None:
    async def refuse(key: ContainerKey) -> None:
        raise Internal("freezer", "is broken")

    await daemon.containers.start(ID)
    daemon.oci.pause = refuse  # type: ignore[method-assign]
    with pytest.raises(Internal, match="is broken"):
        await daemon.containers.pause(ID)
    assert not record(daemon).paused


async def test_killed_between_the_row_and_the_freezer(host: Machine, daemon: Daemon) -> None:
    await daemon.containers.start(ID)
    daemon.epoch.at, daemon.epoch.what = daemon.epoch.count + 2, "kill"
    assert await failure(daemon.containers.pause(ID))
    following = await host.daemon()
    assert record(following).paused
    await following.containers.unpause(ID)
    assert not record(following).paused
    await following.containers.pause(ID)


async def test_kill_tells_whether_it_runs(daemon: Daemon) -> None:
    with pytest.raises(FailedPrecondition, match="is not running"):
        await daemon.containers.kill(ID, "SIGHUP")
    await daemon.containers.start(ID)
    await daemon.containers.kill(ID, "SIGHUP")
    assert daemon.services.containers.is_running(ID)
    await daemon.containers.kill(ID)
    assert not daemon.services.containers.is_running(ID)


async def test_removal_wants_force_only_while_it_runs(host: Machine, daemon: Daemon) -> None:
    await daemon.containers.start(ID)
    with pytest.raises(FailedPrecondition, match="is running"):
        await daemon.containers.remove(ID)
    removed = asyncio.ensure_future(  # noqa: TID251
        daemon.containers.wait(ID, WaitCondition.REMOVED)
    )
    await asyncio.sleep(0)
    await daemon.containers.remove(ID, force=True)
    assert (await removed).exit_code == 137
    assert host.world.things == set()
    assert await stored(host) is None
    with pytest.raises(NotFound):
        await daemon.containers.remove(ID)


async def test_a_removal_whose_clean_up_fails_is_still_told(host: Machine, daemon: Daemon) -> None:
    host.world.things.add("mount moby@" + ID)
    host.world.stuck = "mount"
    removed = asyncio.ensure_future(  # noqa: TID251
        daemon.containers.wait(ID, WaitCondition.REMOVED)
    )
    await asyncio.sleep(0)
    await daemon.containers.remove(ID)
    await removed


# ---------------------------------------------------------------- policies


async def test_always_restarts_until_stopped(host: Machine) -> None:
    await host.add(container(restart_policy="always"))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    daemon.oci.end(KEY, 0)
    await until(lambda: record(daemon).restart_count == 1)
    assert daemon.services.containers.is_running(ID)
    await daemon.containers.stop(ID, grace_s=0)
    await asyncio.sleep(0.3)
    assert not daemon.services.containers.is_running(ID)
    assert not daemon.containers.restarting(ID)


async def test_a_stop_while_a_restart_is_due_ends_the_waiting(host: Machine) -> None:
    await host.add(container(restart_policy="always"))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    daemon.oci.end(KEY, 1)
    await until(lambda: daemon.containers.restarting(ID))
    waiting = asyncio.ensure_future(daemon.containers.wait(ID))  # noqa: TID251
    await asyncio.sleep(0)
    await daemon.containers.stop(ID)
    assert (await waiting).exit_code == 1
    await asyncio.sleep(0.2)
    assert not daemon.services.containers.is_running(ID)


async def test_a_kill_while_a_restart_is_due(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "FIRST_DELAY_S", 1000.0)
    await host.add(container(restart_policy="always"))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    delays = daemon.services.containers._life.restarts._delay_s
    daemon.oci.end(KEY, 1)
    await until(lambda: ID in delays)
    await daemon.containers.kill(ID, "USR1")
    assert daemon.containers.restarting(ID), "it would not have ended it"
    await daemon.containers.kill(ID, "KILL")
    assert not daemon.containers.restarting(ID)
    with pytest.raises(FailedPrecondition):
        await daemon.containers.kill(ID, "KILL")
    await daemon.containers.start(ID)
    assert ID not in delays, "started by hand, it waits no longer than at first"


async def test_whoever_sees_it_run_again_sees_no_restart_due(host: Machine) -> None:
    await host.add(container(restart_policy="always"))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    life = daemon.services.containers._life
    seen = []
    watch = life._watch

    def watched(id: ContainerId) -> Any:
        seen.append(life.restarts.due(id))
        return watch(id)

    life._watch = watched  # type: ignore[method-assign]
    daemon.oci.end(KEY, 1)
    await until(lambda: bool(seen))
    assert seen == [False]
    assert record(daemon).pid > 0


async def test_a_stop_that_comes_between_an_end_and_its_row_ends_the_restarting(
    host: Machine,
) -> None:
    await host.add(container(restart_policy="always"))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    async with daemon.services.containers._rows._locks.hold(ID):
        # Both wait for the row now, the end before the stop.
        daemon.oci.end(KEY, 1)
        await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(daemon.containers.stop(ID))  # noqa: TID251
        await asyncio.sleep(0.01)
    await stopping
    await asyncio.sleep(0.2)
    assert not daemon.services.containers.is_running(ID)
    assert not daemon.containers.restarting(ID)


async def test_on_failure_gives_up_after_its_retries(host: Machine) -> None:
    await host.add(container(restart_policy="on-failure", restart_max_retries=1))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    daemon.oci.end(KEY, 1)
    await until(lambda: record(daemon).restart_count == 1)
    await until(lambda: daemon.services.containers.is_running(ID))
    daemon.oci.end(KEY, 1)
    await daemon.containers.wait(ID)
    assert not daemon.containers.restarting(ID)


@pytest.mark.parametrize(
    ("policy", "fields", "starts"),
    [
        ("no", {"exit_code": 1}, False),
        ("always", {"stopped_by_client": True, "started_ns": 5}, True),
        ("always", {"exit_code": 128, "started_ns": 0}, False),
        ("unless-stopped", {"started_ns": 5}, True),
        ("unless-stopped", {"stopped_by_client": True, "started_ns": 5}, False),
        ("on-failure", {"exit_code": 1, "started_ns": 5}, True),
        ("on-failure", {"exit_code": 0, "started_ns": 5}, False),
        ("on-failure", {"exit_code": 127, "started_ns": 0}, False),
        ("on-failure", {"exit_code": 1, "started_ns": 5, "restart_count": 2}, False),
    ],
)
async def test_what_starts_with_the_daemon(
    host: Machine, policy: str, fields: dict[str, Any], starts: bool
) -> None:
    state = ContainerState.EXITED
    await host.add(container(restart_policy=policy, restart_max_retries=2, state=state, **fields))
    daemon = await host.daemon()
    assert daemon.containers.restarting(ID) is starts
    if starts:
        await until(lambda: daemon.services.containers.is_running(ID))


async def test_a_created_container_is_left_alone_by_policies(host: Machine) -> None:
    await host.add(container(restart_policy="always"), container("d" * 64, auto_remove=True))
    daemon = await host.daemon()
    await asyncio.sleep(0.05)
    states = {r.state for r in daemon.services.containers.list()}
    assert states == {ContainerState.CREATED}
    assert len(daemon.services.containers.list()) == 2


async def test_auto_remove_after_the_end_and_after_a_failed_start(host: Machine) -> None:
    await host.add(container(auto_remove=True), container("d" * 64, auto_remove=True))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    daemon.oci.end(KEY, 0)
    await until(lambda: len(daemon.services.containers.list()) == 1)
    daemon.epoch.at, daemon.epoch.what = daemon.epoch.count + 4, "fail"
    with pytest.raises(Internal):
        await daemon.containers.start("d" * 64)
    await until(lambda: not daemon.services.containers.list())
    await until(lambda: host.world.things == set())


async def test_restart_keeps_an_auto_removed_container(daemon: Daemon, host: Machine) -> None:
    await daemon.containers.change(ID, lambda r: container(auto_remove=True))
    await daemon.containers.start(ID)
    await daemon.containers.restart(ID)
    await asyncio.sleep(0.02)
    assert daemon.services.containers.is_running(ID)
    assert record(daemon).auto_remove
    await daemon.containers.stop(ID)
    await until(lambda: not daemon.services.containers.list())


# ---------------------------------------------------------------- recovery


async def test_an_end_that_was_missed_is_known_when_recovery_is_over(host: Machine) -> None:
    await host.add(container())
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    daemon.epoch.dead = True
    daemon.oci.end(KEY, 9)
    following = await host.daemon()
    assert (record(following).state, record(following).exit_code) == (ContainerState.EXITED, 9)
    await until(lambda: left(host) == [])


async def test_another_boot_is_255_and_asks_no_process(host: Machine) -> None:
    await host.add(container())
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    daemon.epoch.dead = True
    host.world.things.clear()
    host.world.processes.clear()
    following = await host.daemon(boot_id="another")
    found = record(following)
    assert (found.state, found.exit_code, found.reason) == (ContainerState.EXITED, 255, "Unknown")


async def test_what_cannot_be_cleaned_up_does_not_keep_the_daemon_from_starting(
    host: Machine,
) -> None:
    await host.add(container())
    daemon = await host.daemon(at=6, what="kill")
    assert await failure(daemon.containers.start(ID))
    host.world.stuck = "mount"
    following = await host.daemon()
    host.world.stuck = ""
    await following.containers.start(ID)
    await following.containers.remove(ID, force=True)
    assert left(host) == []


async def test_attached_before_a_start_that_fails(daemon: Daemon) -> None:
    session = await daemon.containers.attach(ID)
    daemon.epoch.at, daemon.epoch.what = daemon.epoch.count + 2, "fail"
    with pytest.raises(Internal):
        await daemon.containers.start(ID)
    with pytest.raises(Internal):
        await session.read()
    await session.close()


class Ended:
    """A session whose output has ended."""

    async def read(self) -> None:
        return None

    async def close(self) -> None:
        pass


async def test_the_end_of_an_output_comes_after_the_clean_up(
    host: Machine, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has read to the end of an ended container may remove its network."""

    async def attach(key: ContainerKey, *, tty: bool) -> Ended:
        return Ended()

    monkeypatch.setattr(daemon.oci, "attach", attach)
    await daemon.containers.start(ID)
    async with await daemon.containers.attach(ID) as session:
        assert await session.read() is None, "it has closed its output, and goes on"
        daemon.oci.end(KEY, 0)
        assert await session.read() is None
        assert left(host) == []
        assert not daemon.services.networks.endpoints_of(ID)


async def test_an_attachment_that_fails_does_not_fail_the_start(daemon: Daemon) -> None:
    session = await daemon.containers.attach(ID)
    await daemon.containers.start(ID)
    assert daemon.services.containers.is_running(ID)
    with pytest.raises(FailedPrecondition):
        await session.read()
    await session.close()


async def test_a_restart_is_due_from_the_moment_of_the_end(host: Machine) -> None:
    await host.add(container(restart_policy="always"))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    seen = []
    delete = daemon.oci.delete

    async def look(key: ContainerKey) -> None:
        seen.append((record(daemon).state, daemon.containers.restarting(ID)))
        await delete(key)

    daemon.oci.delete = look  # type: ignore[method-assign]
    daemon.oci.end(KEY, 1)
    await until(lambda: record(daemon).restart_count == 1)
    assert seen[0] == (ContainerState.EXITED, True), "cleaning up is no pause between two states"
    await daemon.containers.stop(ID, grace_s=0)
    assert not daemon.containers.restarting(ID)


async def test_a_stop_while_it_is_cleaned_up_after_ends_the_restarting(host: Machine) -> None:
    await host.add(container(restart_policy="always"))
    daemon = await host.daemon()
    await daemon.containers.start(ID)
    delete, reached, go_on = daemon.oci.delete, asyncio.Event(), asyncio.Event()

    async def hang(key: ContainerKey) -> None:
        reached.set()
        await go_on.wait()
        await delete(key)

    daemon.oci.delete = hang  # type: ignore[method-assign]
    daemon.oci.end(KEY, 1)
    await reached.wait()
    stopping = asyncio.ensure_future(daemon.containers.stop(ID))  # noqa: TID251
    await asyncio.sleep(0.01)
    go_on.set()
    await stopping
    await asyncio.sleep(0.2)
    assert not daemon.services.containers.is_running(ID)
    assert not daemon.containers.restarting(ID)
