"""The cgroups of this host, for whoever makes pods, containers and quotas."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sharedrt.aio.priority import thread_pool
from sharedrt.drivers.cgroups import parse, pod_marks, tree, units
from sharedrt.drivers.cgroups.details import read_details
from sharedrt.drivers.cgroups.features import CgroupFeatures, read_features
from sharedrt.drivers.cgroups.limits import set_limits
from sharedrt.drivers.cgroups.mountinfo import Hierarchies, read_hierarchies
from sharedrt.drivers.cgroups.oom_log import OomLog
from sharedrt.drivers.cgroups.paths import CgroupDriver, CgroupName, container_cgroup, parent_path
from sharedrt.drivers.cgroups.reader import OpenFiles, read_text
from sharedrt.drivers.cgroups.stats import HostCpu, read_oom_kills, read_stats
from sharedrt.model.drivers import CgroupDetails, CgroupStats, NetworkStats
from sharedrt.model.faults import Internal, InvalidArgument
from sharedrt.model.ids import ContainerKey
from sharedrt.model.spec import Resources


class CgroupManager:
    """One object per daemon; holds no state beyond what it found at start-up.

    Reading figures is done in place: a handful of small kernel files takes some 100 µs. Making, killing and
    removing go to a thread, since the kernel may sleep there (RCU grace periods, dying processes).

    Args:
        configured: ``auto``, ``cgroupfs`` or ``systemd``; ``auto`` is systemd where it is the init.
    """

    def __init__(
        self,
        configured: str = "auto",
        *,
        hierarchies: Hierarchies | None = None,
        systemd_running: bool | None = None,
        proc: Path = Path("/proc"),
    ) -> None:
        self.hierarchies = hierarchies if hierarchies is not None else read_hierarchies(proc)
        if systemd_running is None:
            systemd_running = Path("/run/systemd/system").is_dir()
        self.driver = choose_driver(configured, systemd_running=systemd_running)
        self.features: CgroupFeatures = read_features(self.hierarchies)
        self._proc = proc
        self._enders = thread_pool(8, "cgroup-ends")
        """What will not die holds a thread for seconds: not one of those that all else needs."""
        self._host = HostCpu(str(proc / "stat"))
        self._files = OpenFiles()
        self._oom_log = OomLog()

    @property
    def version(self) -> int:
        """1 or 2; a hybrid host is 1."""
        return self.hierarchies.version

    def parent_path(self, parent: str) -> str:
        """A parent as clients write it (a path, or a slice's name) as a path. Raises InvalidArgument."""
        return parent_path(self.driver, parent)

    def container_name(self, parent: str, key: ContainerKey) -> CgroupName:
        """The cgroup of a container below ``parent``. Raises InvalidArgument."""
        return container_cgroup(self.driver, parent, key)

    async def ensure(self, path: str, *, for_processes: bool = False) -> None:
        """Make a cgroup that containers' cgroups shall stand in, or processes. Idempotent. Raises Internal.

        With the systemd driver nothing is done: systemd makes a slice when its first scope starts.
        """
        if self.driver is CgroupDriver.SYSTEMD:
            return
        try:
            await asyncio.to_thread(
                tree.ensure, self.hierarchies, path, for_processes=for_processes
            )
        except OSError as e:
            raise Internal(f"cgroup {path}", str(e)) from e

    async def remove(self, path: str) -> bool:
        """Remove a cgroup and those below it; False when processes are still in one. Idempotent.

        A slice of systemd's is stopped, unless processes are in it. Raises Internal: systemd refused.
        """
        self._files.forget(path)
        if self.driver is CgroupDriver.SYSTEMD and path.endswith(".slice") and not self.pids(path):
            await units.stop(path.rpartition("/")[2])
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._enders, tree.remove, self.hierarchies, path)

    async def move(self, path: str, pid: int) -> None:
        """Put a process into a cgroup. Raises Internal."""
        try:
            await asyncio.to_thread(tree.move, self.hierarchies, path, pid)
        except OSError as e:
            raise Internal(f"cgroup {path}", str(e)) from e

    async def kill(self, path: str) -> bool:
        """SIGKILL everything in a cgroup and below; False when something would not die. Idempotent."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._enders, tree.kill, self.hierarchies, path)

    async def mark_pod(self, parent: str, id: str, shown: str) -> None:
        """See :class:`sharedrt.model.drivers.PodCgroups`."""
        path = parent_path(self.driver, parent)
        try:
            await asyncio.to_thread(pod_marks.make, self.hierarchies, path, id, shown)
        except OSError as e:
            raise Internal(f"cgroup {path}/{id}", str(e)) from e

    async def pod_mark(self, parent: str, id: str) -> str:
        """See :class:`sharedrt.model.drivers.PodCgroups`."""
        path = parent_path(self.driver, parent)
        try:
            return await asyncio.to_thread(pod_marks.look, self.hierarchies, path, id)
        except OSError as e:
            raise Internal(f"cgroup {path}/{id}", str(e)) from e

    async def unmark_pod(self, parent: str, id: str) -> None:
        """See :class:`sharedrt.model.drivers.PodCgroups`."""
        path = parent_path(self.driver, parent)
        try:
            await asyncio.to_thread(pod_marks.remove, self.hierarchies, path, id)
        except OSError as e:
            raise Internal(f"cgroup {path}/{id}", str(e)) from e

    async def set_limits(self, path: str, resources: Resources) -> None:
        """Set what ``resources`` names on a parent cgroup: a pod's or a namespace's quota.

        Raises:
            Internal: the kernel or systemd refused; InvalidArgument: not a limit for a parent cgroup.
        """
        await set_limits(self.hierarchies, self.driver, path, resources)

    def pids(self, path: str) -> Sequence[int]:
        """All processes in and below a cgroup, as host pids."""
        return tree.pids(self.hierarchies, path)

    def stats(self, path: str) -> CgroupStats:
        """A container's or a pod's figures. 'No limit' of memory and swap is the kernel's own
        0x7FFFFFFFFFFFF000 (v2's ``max`` too), of processes 0."""
        return read_stats(self.hierarchies, path, self._host, self._files)

    def details(self, path: str) -> CgroupDetails:
        """Figures that only metrics ask for. Blocking, for a thread."""
        return read_details(self.hierarchies, path)

    def oom_kills(self, path: str) -> int | None:
        """How many processes of the cgroup the OOM killer took; ``None`` when it is gone."""
        return read_oom_kills(self.hierarchies, path)

    def oom_told(self, path: str, started_us: int) -> bool:
        """Whether the kernel's log tells of such a kill in the run that started then. For a thread."""
        return self._oom_log.tells_of(path, started_us)

    def network_stats(self, pid: int) -> Sequence[NetworkStats]:
        """Interfaces of that process's network namespace, without ``lo``; empty when it has ended."""
        return parse.net_dev(read_text(f"{self._proc}/{pid}/net/dev"))

    def close(self) -> None:
        """Close the files that are kept open."""
        self._files.close()
        self._oom_log.close()


def choose_driver(configured: str, *, systemd_running: bool) -> CgroupDriver:
    """The driver for a configured name.

    Raises:
        InvalidArgument: an unknown name, or ``systemd`` where that is not the init.
    """
    if configured == "auto":
        return CgroupDriver.SYSTEMD if systemd_running else CgroupDriver.CGROUPFS
    try:
        driver = CgroupDriver(configured)
    except ValueError as e:
        raise InvalidArgument(
            "cgroup driver", configured, "must be auto, cgroupfs or systemd"
        ) from e
    if driver is CgroupDriver.SYSTEMD and not systemd_running:
        raise InvalidArgument("cgroup driver", configured, "systemd is not running here")
    return driver
