"""A full node for a while: pods made, probed, logging, rotated and deleted, as a kubelet does it.

    python -m tests.soak.pods --pods 105 --seconds 300

Needs root and what the real tests need. Prints what was measured, and what is wrong with it; exit code 1 then:
a probe that failed, a log line that is lost, a loop whose lag has a p99 of 50 ms or more, memory that grows,
anything left behind.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import IMAGE, CriClient, cri_client, docker_client
from tests.real.daemon import DaemonUnderTest
from tests.real.leaks import look
from tests.real.owned import listed, unowned
from tests.soak.figures import (
    Histogram,
    ProcessFigures,
    Range,
    histogram_of,
    host_cpu,
    metrics_of,
    process_figures,
)

MAKE_IMAGE: Final = Path(__file__).parents[2] / "deploy" / "make_image.py"
LAG: Final = "sharedrt_loop_lag_seconds"
BLOCKED: Final = "sharedrt_loop_blocked_seconds"
"""The lag without the time that the loop's thread waited for a CPU, on a host that has too few."""
LAG_P99_S: Final = 0.05
LINES_A_SECOND: Final = 20
SCRIPT: Final = (
    "trap 'exit 0' TERM; i=0; while :; do n=0;"
    f" while [ $n -lt {LINES_A_SECOND} ]; do i=$((i+1)); n=$((n+1)); echo $i; done;"
    " sleep 1 & wait $!; done"
)
AT_ONCE: Final = 8
"""Pods that a kubelet works on at the same time, about."""
GROWTH: Final = 1.05
GROWTH_BYTES: Final = 4 << 20
"""How much larger the daemon may be in the last quarter than in the second: noise of the allocator."""


@dataclass(frozen=True)
class Plan:
    pods: int = 105
    seconds: float = 300
    rotate_s: float = 30
    stats_s: int = 10
    handler: str = ""
    judged_by: tuple[str, ...] = (LAG, BLOCKED)
    """Histograms whose p99 has to be in bounds."""


@dataclass
class Pod:
    id: str
    container: str
    log: Path
    rotated: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Slip:
    """A probe that ended after the next one was due, which therefore began later, as all after it."""

    second: int
    """Of the phase."""
    seconds: float


def explain(slips: Sequence[Slip], expected: int, made: int) -> str:
    """Why there were fewer probes than planned: each slip moves its pod's later ones towards the end."""
    lost = sum(slip.seconds for slip in slips)
    words = f"{expected - made} not made: {len(slips)} late ones moved the rest by {lost:.1f} s"
    if slips:
        by_second = Counter(slip.second for slip in slips)
        worst = ", ".join(f"{count} at {at} s" for at, count in by_second.most_common(3))
        words += f" ({worst})"
    return words


@dataclass
class Report:
    """What was measured; ``faults`` is empty when all is well."""

    figures: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def note(self, name: str, value: str) -> None:
        self.figures[name] = value
        print(f"{name:<28} {value}", flush=True)

    def check(self, name: str, held: bool, words: str) -> None:
        if not held:
            self.faults.append(f"{name}: {words}")
            print(f"FAULT {name}: {words}", flush=True)


class Soak:
    """One run against a daemon of its own."""

    def __init__(self, daemon: DaemonUnderTest, cri: CriClient, plan: Plan, report: Report) -> None:
        self.daemon, self.cri, self.plan, self.report = daemon, cri, plan, report
        self.pods: list[Pod] = []
        self.took: list[float] = []
        self.slips: list[Slip] = []
        self.samples: list[ProcessFigures] = []

    async def run(self) -> None:
        at_rest, busy = self._figures(), host_cpu()
        before = {name: await self._histogram(name) for name in (LAG, BLOCKED)}
        await self._phase("create", self._create_all)
        await self._phase("probe", self._probe_all)
        await self._phase("delete", self._delete_all)
        for name, words in ((LAG, "loop lag"), (BLOCKED, "loop blocked")):
            p99 = self._note_lag(words, (await self._histogram(name)) - before[name])
            if name in self.plan.judged_by:
                self.report.check(words, p99.upper_s <= LAG_P99_S, f"p99 is {p99}")
        # Figures of a host that has much else to do say little.
        self.report.note("host", str(host_cpu() - busy))
        self._check_probes()
        self._check_memory()
        await self._check_left(at_rest)

    async def _phase(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do it; how long it took, and how late the loop was meanwhile."""
        before = await self._histogram(LAG)
        started = time.monotonic()
        await work()
        elapsed = time.monotonic() - started
        lag = (await self._histogram(LAG)) - before
        self.report.note(name, f"{elapsed:.1f} s")
        self._note_lag(f"{name}: loop lag", lag)

    def _note_lag(self, name: str, lag: Histogram) -> Range:
        p99 = lag.quantile(0.99)
        self.report.note(name, f"p50 {lag.quantile(0.5)}, p99 {p99} of {lag.count}")
        return p99

    async def _histogram(self, name: str) -> Histogram:
        return histogram_of(await metrics_of(self.daemon.socket("admin")), name)

    def _figures(self) -> ProcessFigures:
        assert self.daemon.process is not None
        return process_figures(self.daemon.process.pid)

    # ------------------------------------------------------------ create

    async def _create_all(self) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def create(number: int) -> None:
            async with slots:
                self.pods.append(await self._create(number))

        async with asyncio.TaskGroup() as group:
            for number in range(self.plan.pods):
                group.create_task(create(number))

    async def _create(self, number: int) -> Pod:
        options = pb.NamespaceOption(pid=pb.NamespaceMode.CONTAINER)
        sandbox_context = pb.LinuxSandboxSecurityContext(namespace_options=options)
        config = self.cri.pod_config(
            f"soak{number}", linux=pb.LinuxPodSandboxConfig(security_context=sandbox_context)
        )
        id = await self.cri.run_pod(config, self.plan.handler)
        context = pb.LinuxContainerSecurityContext(namespace_options=options)
        linux = pb.LinuxContainerConfig(security_context=context)
        container = await self.cri.create(id, config, "main", ["sh", "-c", SCRIPT], linux=linux)
        await self.cri.start(container)
        return Pod(id, container, Path((await self.cri.status(container)).log_path))

    # ------------------------------------------------------------ probe

    async def _probe_all(self) -> None:
        end = time.monotonic() + self.plan.seconds
        async with asyncio.TaskGroup() as group:
            for number, pod in enumerate(self.pods):
                group.create_task(self._probe(pod, number / len(self.pods), end))
                group.create_task(self._rotate(pod, number / len(self.pods), end))
            group.create_task(self._watch(end))
            group.create_task(self._sample(end))

    async def _probe(self, pod: Pod, offset: float, end: float) -> None:
        """Once a second; the next one waits for a late one, as in a kubelet."""
        due = end - self.plan.seconds + offset
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            asked = time.monotonic()
            reply = await self.cri.exec_sync(pod.container, "echo", "well", timeout_s=10)
            self.took.append(time.monotonic() - asked)
            assert (reply.stdout, reply.exit_code) == (b"well\n", 0), reply
            due += 1
            if due < (now := time.monotonic()):
                self.slips.append(Slip(int(now - end + self.plan.seconds), now - due))
                due = now

    async def _rotate(self, pod: Pod, offset: float, end: float) -> None:
        await asyncio.sleep(offset * self.plan.rotate_s)
        while time.monotonic() < end:
            pod.rotated.append(_rename(pod.log, len(pod.rotated)))
            request = pb.ReopenContainerLogRequest(container_id=pod.container)
            await self.cri.runtime.reopen_container_log(request)
            await asyncio.sleep(self.plan.rotate_s)

    async def _watch(self, end: float) -> None:
        """A kubelet's own round: both lists each second, stats every ten or so."""
        turn = 0
        while time.monotonic() < end:
            await self.cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())
            await self.cri.runtime.list_containers(pb.ListContainersRequest())
            if turn % self.plan.stats_s == 0:
                await self.cri.runtime.list_container_stats(pb.ListContainerStatsRequest())
                await self.cri.runtime.list_pod_sandbox_stats(pb.ListPodSandboxStatsRequest())
                await self.cri.images.image_fs_info(pb.ImageFsInfoRequest())
            turn += 1
            await asyncio.sleep(1)

    async def _sample(self, end: float) -> None:
        while time.monotonic() < end:
            self.samples.append(self._figures())
            await asyncio.sleep(min(2.0, self.plan.seconds / 20))

    # ------------------------------------------------------------ delete

    async def _delete_all(self) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def delete(pod: Pod) -> None:
            async with slots:
                stop = pb.StopContainerRequest(container_id=pod.container, timeout=5)
                await self.cri.runtime.stop_container(stop)
                status = await self.cri.status(pod.container)
                self.report.check("exit code", status.exit_code == 0, str(status.exit_code))
                self._check_log(pod)
                await self.cri.runtime.stop_pod_sandbox(
                    pb.StopPodSandboxRequest(pod_sandbox_id=pod.id)
                )
                await self.cri.remove_pod(pod.id)

        async with asyncio.TaskGroup() as group:
            for pod in self.pods:
                group.create_task(delete(pod))

    def _check_log(self, pod: Pod) -> None:
        lines = [line for path in (*pod.rotated, pod.log) for line in _numbers(path)]
        whole = lines == list(range(1, len(lines) + 1))
        self.report.check(
            "log", whole and bool(lines), f"{pod.log} and its rotated ones lack lines"
        )

    # ------------------------------------------------------------ verdicts

    def _check_probes(self) -> None:
        expected = int(self.plan.pods * self.plan.seconds)
        percent = quantiles(self.took, n=100)
        self.report.note(
            "probes",
            f"{len(self.took)} of {expected}; p50 {median(self.took) * 1000:.0f} ms,"
            f" p99 {percent[98] * 1000:.0f} ms, longest {max(self.took) * 1000:.0f} ms",
        )
        made = len(self.took)
        self.report.note("late probes", explain(self.slips, expected, made))
        explained = sum(slip.seconds for slip in self.slips) + min(len(self.slips), self.plan.pods)
        self.report.check("probes", expected - made <= explained, "some are not accounted for")
        self.report.note("rotations", str(sum(len(pod.rotated) for pod in self.pods)))

    def _check_memory(self) -> None:
        quarter = max(1, len(self.samples) // 4)
        early = median(s.rss_bytes for s in self.samples[quarter : 2 * quarter] or self.samples)
        late = median(s.rss_bytes for s in self.samples[-quarter:])
        self.report.note("memory", f"{early / 1e6:.1f} MB, later {late / 1e6:.1f} MB")
        grown = late > early * GROWTH + GROWTH_BYTES
        self.report.check("memory", not grown, f"from {early / 1e6:.1f} to {late / 1e6:.1f} MB")
        most = max(self.samples, key=lambda sample: sample.descriptors)
        self.report.note("descriptors", f"at most {most.descriptors}, threads {most.threads}")

    async def _check_left(self, at_rest: ProcessFigures) -> None:
        async with docker_client(self.daemon.socket("docker")) as docker:
            owners = await listed(self.cri, docker)
        self.report.check("left", not owners.all, f"{len(owners.all)} rows")
        left = await asyncio.to_thread(unowned, self.daemon, owners)
        left.remove(f"mount {self.daemon.root}/run")  # the tmpfs
        self.report.check("left", not left, ", ".join(left[:5]))
        now = self._figures()
        self.report.note(
            "descriptors at rest", f"{at_rest.descriptors} before, {now.descriptors} after"
        )
        # A few stay open by design: lazily opened files, idle threads.
        over = now.descriptors > at_rest.descriptors + 16
        self.report.check("descriptors", not over, f"{at_rest.descriptors} to {now.descriptors}")


def _rename(log: Path, number: int) -> Path:
    return log.rename(log.with_suffix(f".{number:04d}"))


def _numbers(path: Path) -> list[int]:
    return [int(line.split(b" ", 3)[3]) for line in path.read_bytes().splitlines()]


def _busybox(folder: Path) -> Path:
    archive = folder / "busybox.tar"
    subprocess.run([sys.executable, str(MAKE_IMAGE), str(archive), IMAGE], check=True)
    return archive


async def soak(plan: Plan) -> Report:
    """The whole run, on a daemon of its own."""
    report = Report()
    daemon = DaemonUnderTest({"daemon": {"log_level": "warning"}})
    # As /run is on a host.
    run_dir = daemon.root / "run"
    run_dir.mkdir()
    await daemon.run("mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", str(run_dir))
    try:
        with tempfile.TemporaryDirectory() as folder:
            archive = await asyncio.to_thread(_busybox, Path(folder))
            await daemon.start()
            await daemon.cli("-n", "k8s.io", "images", "import", str(archive))
        async with cri_client(daemon.socket("cri"), daemon.root / "pods") as cri:
            await Soak(daemon, cri, plan, report).run()
    finally:
        await daemon.purge()
    number = daemon.number
    marks = (f"srt{number}", f"srp{number}", f"s{number}", daemon.root.name)
    left = (await asyncio.to_thread(look, marks)).found()
    report.check("left behind", not left, str(left))
    return report


def main(arguments: Sequence[str]) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pods", type=int, default=Plan.pods)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--rotate", type=float, default=Plan.rotate_s, metavar="SECONDS")
    parser.add_argument("--stats", type=int, default=Plan.stats_s, metavar="SECONDS")
    parser.add_argument("--handler", default=Plan.handler)
    asked = parser.parse_args(arguments)
    report = asyncio.run(
        soak(Plan(asked.pods, asked.seconds, asked.rotate, asked.stats, asked.handler))
    )
    print("well" if not report.faults else f"{len(report.faults)} faults")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
