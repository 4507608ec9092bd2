"""``python -m tests.bench``: the table of measurements beside Debian's containerd and dockerd."""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.cases import CRI_CASES, DOCKER_CASES, Case, Clients, start_pod
from tests.bench.measure import counting_syncs, pss_mib, tasks_started, with_descendants
from tests.bench.pause import NAME as PAUSE
from tests.bench.pause import write_pause_image
from tests.bench.sides import Containerd, Dockerd, Ours, Side, all_sides, processes_below
from tests.bench.table import Row, print_table
from tests.real.clients import cri_client, docker_client

STARTS = 5
SYNC_ROUNDS = 5
SETTLE_S = 2.0
_MAKE_IMAGE = Path(__file__).parents[2] / "deploy" / "make_image.py"


@dataclass
class Samples:
    """What one case gave for each of its two daemons, in the order of rounds."""

    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    ours_tasks: list[int] = field(default_factory=list)
    peer_tasks: list[int] = field(default_factory=list)


async def measured(case: Case, clients: Clients, times: list[float], tasks: list[int]) -> None:
    before = tasks_started()
    times.append(await case(clients))
    tasks.append(tasks_started() - before)


async def start_ups(sides: tuple[Ours, Containerd, Dockerd]) -> list[Row]:
    taken: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(STARTS):
        for side in sides:
            taken[side.name].append(await side.start())
            await side.stop()
    median = {name: statistics.median(times) * 1000 for name, times in taken.items()}
    first = taken["sharedrt"][0] * 1000
    rows = [Row("start-up, first of all (makes the database)", "ms", first)]
    rows += [
        Row("start-up", "ms", median["sharedrt"], peer, median[peer])
        for peer in ("containerd", "dockerd")
    ]
    return rows


def daemon_mib(side: Side) -> float:
    """The daemon and its own children; dockerd's containerd is one of them."""
    return pss_mib(with_descendants([side.pid()]))


def memory_rows(when: str, sides: tuple[Ours, Containerd, Dockerd]) -> list[Row]:
    ours = daemon_mib(sides[0])
    return [
        Row(f"memory {when}, PSS", "MiB", ours, peer.name, daemon_mib(peer)) for peer in sides[1:]
    ]


async def pod_memory(ours: Clients, peer: Clients) -> Row:
    """What a running pod with one container costs beside the daemon: shims, conmon, pause, the container."""
    costs = []
    for clients in (ours, peer):
        assert clients.cri is not None
        pod, container = await start_pod(clients, host_network=True)
        tops = set(processes_below(Path(pod))) | set(processes_below(Path(container)))
        costs.append(pss_mib(with_descendants(tops)))
        await clients.cri.remove_pod(pod)
    return Row("memory of a pod with a container, PSS", "MiB", costs[0], peer.side.name, costs[1])


async def rounds(
    cases: dict[str, Case], ours: Clients, peer: Clients, count: int
) -> dict[str, Samples]:
    """Interleaved: what else the machine does is spread over both."""
    samples = {name: Samples() for name in cases}
    for case in cases.values():  # what is only paid once
        await case(ours)
        await case(peer)
    for number in range(count):
        for name, case in cases.items():
            taken = samples[name]
            turns = [(ours, taken.ours, taken.ours_tasks), (peer, taken.peer, taken.peer_tasks)]
            for clients, times, tasks in turns if number % 2 else reversed(turns):
                await measured(case, clients, times, tasks)
    return samples


def rows_of(samples: dict[str, Samples], peer: str) -> list[Row]:
    rows = []
    for name, taken in samples.items():
        ours, theirs = statistics.median(taken.ours), statistics.median(taken.peer)
        rows.append(Row(name, "ms", ours * 1000, peer, theirs * 1000))
    for name, taken in samples.items():
        # The least: other work on the machine can only add.
        least = min(taken.ours_tasks), min(taken.peer_tasks)
        rows.append(Row(f"tasks started, undoing too: {name}", "", least[0], peer, least[1]))
    return rows


async def sync_rows(cases: dict[str, Case], ours: Clients, peer: Clients) -> list[Row]:
    rows = []
    for name, case in cases.items():
        counts: list[float] = []
        for clients in (ours, peer):
            async with counting_syncs(with_descendants([clients.side.pid()])) as calls:
                for _ in range(SYNC_ROUNDS):
                    await case(clients)
            if calls.count is not None:
                counts.append(calls.count / SYNC_ROUNDS)
        if len(counts) == 2:
            rows.append(
                Row(f"disk syncs, undoing too: {name}", "", counts[0], peer.side.name, counts[1])
            )
    return rows


async def bench(count: int, *, syncs: bool) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="srtb-", dir="/tmp") as folder:
        root = Path(folder)
        pause, busybox = root / "pause.tar", root / "busybox.tar"
        write_pause_image(pause)
        make = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_MAKE_IMAGE), str(busybox), "docker.io/library/busybox:latest")
        )
        assert await make.wait() == 0
        async with all_sides(root, PAUSE) as sides, AsyncExitStack() as stack:
            rows = await start_ups(sides)
            for side in sides:
                await side.start()
            await sides[1].load(pause)
            for side in sides:
                await side.load(busybox)
                await side.stop()
                await side.start()
            await asyncio.sleep(SETTLE_S)
            rows += memory_rows("at rest", sides)
            clients = [await connected(side, root, stack) for side in sides]
            for peer, cases in ((clients[1], CRI_CASES), (clients[2], DOCKER_CASES)):
                rows += rows_of(await rounds(cases, clients[0], peer, count), peer.side.name)
            rows.append(await pod_memory(clients[0], clients[1]))
            await asyncio.sleep(SETTLE_S)
            rows += memory_rows("after all that", sides)
            if syncs:
                for peer, cases in ((clients[1], CRI_CASES), (clients[2], DOCKER_CASES)):
                    rows += await sync_rows(cases, clients[0], peer)
    return rows


async def connected(side: Side, root: Path, stack: AsyncExitStack) -> Clients:
    cri = docker = None
    if side.cri is not None:
        cri = await stack.enter_async_context(cri_client(side.cri, root / "logs" / side.name))
    if side.docker is not None:
        docker = await stack.enter_async_context(docker_client(side.docker))
        docker.version = "v1.41"
    return Clients(side, cri, docker)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of each case (default: 15)")
    parser.add_argument("--no-syncs", action="store_true", help="do not count disk syncs (strace)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root")
    rows = asyncio.run(bench(options.rounds, syncs=not options.no_syncs))
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
