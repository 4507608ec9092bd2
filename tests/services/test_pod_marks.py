"""Pods' marks: a cgroup while a container runs, a new one when another process has to stand for the pod."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from sharedrt.model.faults import Internal
from sharedrt.model.ids import ContainerId, ContainerKey, SandboxId
from sharedrt.model.records import SandboxRecord, SandboxSpec
from sharedrt.services import pod_marks
from sharedrt.services.pod_marks import PodMarks
from sharedrt.services.working_set import WorkingSet
from tests.services.rig import MOBY, Daemon, Machine, container, sandbox

PARENT = "/kubepods/pod1"
A, B = ContainerId("a" * 64), ContainerId("b" * 64)


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_marks, "AGENTS_BACK_S", 0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is another task's doing
            await asyncio.sleep(0.001)


async def pod_with(host: Machine, *ids: ContainerId) -> tuple[Daemon, SandboxRecord]:
    """A daemon whose one pod has these containers, not started."""
    daemon = await host.daemon()
    pod = await daemon.services.pods.run(sandbox(share_pid=False, cgroup_parent=PARENT))
    await daemon.services.aclose()
    await host.add(
        *(container(id, name="", networks=(), log_path="", sandbox_id=pod.id) for id in ids)
    )
    return await host.daemon(), pod


def marks(host: Machine) -> list[str]:
    """The containers that marks stand for."""
    return [thing.rpartition(" ")[2] for thing in host.world.has(f"mark {PARENT}/")]


async def test_a_mark_while_something_runs_and_a_new_one_for_another_process(
    host: Machine,
) -> None:
    daemon, pod = await pod_with(host, A, B)
    pods = daemon.services.pods
    assert pods.first_process(pod.id) == 0
    assert marks(host) == []
    await daemon.containers.start(A)
    await until(lambda: marks(host) == [A])
    assert pods.first_process(pod.id) == daemon.containers.by_id(A).pid
    made = len(host.world.calls)
    await daemon.containers.start(B)
    await until(lambda: not pods._marks._due)
    async with pods._locks.hold(pod.id):  # and what was due is done
        pass
    assert not any("mark /" in call for call in host.world.calls[made:]), "the oldest stands for it"
    daemon.oci.end(ContainerKey(MOBY, A), 0)
    await until(lambda: marks(host) == [B])
    daemon.oci.end(ContainerKey(MOBY, B), 0)
    await until(lambda: not marks(host))
    assert pods.first_process(pod.id) == 0


async def test_the_next_daemon_leaves_a_right_mark_alone_and_a_stop_takes_it(host: Machine) -> None:
    """Who watches has no need to ask again, and could not while the doors are closed."""
    daemon, pod = await pod_with(host, A)
    await daemon.containers.start(A)
    await until(lambda: marks(host))
    daemon.epoch.dead = True
    made = len(host.world.calls)
    following = await host.daemon()
    pods = following.services.pods
    await until(lambda: pods._marks._shown.get(pod.id) == A)
    assert not any("mark /" in call for call in host.world.calls[made:])
    await pods.stop(pod.id)
    assert marks(host) == []


async def test_a_mark_whose_container_ended_meanwhile_is_mended(host: Machine) -> None:
    daemon, _ = await pod_with(host, A, B)
    await daemon.containers.start(A)
    await daemon.containers.start(B)
    await until(lambda: marks(host) == [A])
    daemon.epoch.dead = True
    daemon.oci.end(ContainerKey(MOBY, A), 0)
    following = await host.daemon()
    await until(lambda: marks(host) == [B])
    following.epoch.dead = True
    daemon.oci.end(ContainerKey(MOBY, B), 0)
    await host.daemon()
    await until(lambda: not marks(host))


async def test_nothing_is_shown_before_agents_can_ask(
    host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, _ = await pod_with(host, A)
    await daemon.services.aclose()
    monkeypatch.setattr(pod_marks, "AGENTS_BACK_S", 0.2)
    daemon = await host.daemon()
    await daemon.containers.start(A)
    assert not daemon.services.pods._marks._agents_back.is_set(), "too slow a machine for this"
    assert marks(host) == []
    await until(lambda: marks(host) == [A])


@pytest.mark.parametrize(
    "fields", [{"cgroup_parent": ""}, {"host_network": True}, {"share_pid": True}]
)
async def test_pods_without_a_mark(fields: dict[str, Any]) -> None:
    """Nobody's cgroup to put it in; the host's network; a first process with a cgroup of its own."""
    spec = SandboxSpec(**{"cgroup_parent": PARENT, **fields})
    record = SandboxRecord(SandboxId("p" * 64), "web", "uid", "default", 0, spec)
    records = WorkingSet[SandboxRecord]("sandbox", lambda r: r.id, lambda r: "")
    records.put(record)
    unused: Any = None
    marks = PodMarks(unused, records, unused, unused, unused)
    marks.note(record.id)
    await marks.remove(record)


async def test_a_pod_does_well_without_its_mark(host: Machine, log: list[Any]) -> None:
    daemon, pod = await pod_with(host, A)

    async def refuse(parent: str, id: str, shown: str) -> None:
        raise Internal("cgroup", "refused")

    daemon.cgroups.mark_pod = refuse  # type: ignore[method-assign]
    await daemon.containers.start(A)
    await until(lambda: any(entry["event"] == "cannot mark a pod" for entry in log))
    await daemon.services.pods.remove(pod.id)
    assert host.world.things == set()
