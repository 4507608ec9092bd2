"""A cgroup's figures, from its files. v1 keeps them in one folder a controller, v2 in one folder."""

import os
import time
from dataclasses import dataclass, field
from typing import Final

from sharedrt.drivers.cgroups import parse
from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.drivers.cgroups.reader import OpenFiles, read_text
from sharedrt.drivers.cgroups.tree import limited
from sharedrt.model.drivers import CgroupStats, CpuStats, MemoryStats

_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_HOST_CPU_MAX_AGE_NS: Final = 10_000_000
"""One clock tick: /proc/stat cannot say anything newer, so a hundred containers share one reading."""


@dataclass(slots=True)
class HostCpu:
    """The host's CPU time, read at most once a clock tick."""

    proc_stat: str = "/proc/stat"
    _read_ns: int = field(default=0, init=False)
    _total_ns: int = field(default=0, init=False)
    _online: int = field(default=0, init=False)

    def total_ns(self, now_ns: int) -> int:
        self._refresh(now_ns)
        return self._total_ns

    def online(self, now_ns: int) -> int:
        self._refresh(now_ns)
        return self._online

    def _refresh(self, now_ns: int) -> None:
        # The clock may have been set back since.
        if not self._read_ns or not 0 <= now_ns - self._read_ns < _HOST_CPU_MAX_AGE_NS:
            self._total_ns = parse.system_cpu_ticks(read_text(self.proc_stat)) * _TICK_NS
            self._online = os.sysconf("SC_NPROCESSORS_ONLN")
            self._read_ns = now_ns


def read_stats(hierarchies: Hierarchies, path: str, host: HostCpu, files: OpenFiles) -> CgroupStats:
    """All figures of the cgroup ``path``; zeros where a controller is missing."""
    if hierarchies.version == 2:
        return _read_v2(f"{hierarchies.unified}{limited(hierarchies, path)}", host, files)
    return _read_v1(hierarchies, path, host, files)


def _read_v1(hierarchies: Hierarchies, path: str, host: HostCpu, files: OpenFiles) -> CgroupStats:
    def folder(controller: str) -> str:
        root = hierarchies.v1.get(controller)
        return f"{root}{path}/" if root is not None else ""

    def read(controller_folder: str, name: str) -> str:
        return files.read(controller_folder + name) if controller_folder else ""

    cpu, cpuacct, memory = folder("cpu"), folder("cpuacct"), folder("memory")
    blkio, pids = folder("blkio"), folder("pids")
    now = time.time_ns()
    per_cpu = parse.per_cpu(read(cpuacct, "cpuacct.usage_percpu"))
    throttling = parse.flat_keyed(read(cpu, "cpu.stat"))
    return CgroupStats(
        time_ns=now,
        cpu=CpuStats(
            total_ns=sum(per_cpu),  # cpuacct.usage is this very sum
            user_ns=parse.number(read(cpuacct, "cpuacct.usage_user")),
            system_ns=parse.number(read(cpuacct, "cpuacct.usage_sys")),
            per_cpu_ns=per_cpu,
            periods=throttling.get("nr_periods", 0),
            throttled_periods=throttling.get("nr_throttled", 0),
            throttled_ns=throttling.get("throttled_time", 0),
            online_cpus=host.online(now),
            system_total_ns=host.total_ns(now),
        ),
        memory=_memory_v1(
            parse.flat_keyed(read(memory, "memory.stat")),
            usage=parse.number(read(memory, "memory.usage_in_bytes")),
            limit=parse.number(read(memory, "memory.limit_in_bytes")),
            max_usage=parse.number(read(memory, "memory.max_usage_in_bytes")),
            fail_count=parse.number(read(memory, "memory.failcnt")),
            memsw_limit=parse.number(read(memory, "memory.memsw.limit_in_bytes")),
        ),
        blkio_bytes=parse.blkio_v1(read(blkio, "blkio.throttle.io_service_bytes_recursive")),
        blkio_ops=parse.blkio_v1(read(blkio, "blkio.throttle.io_serviced_recursive")),
        pids_current=parse.number(read(pids, "pids.current")),
        pids_limit=_pids_limit(read(pids, "pids.max")),
    )


def _memory_v1(
    stat: dict[str, int],
    *,
    usage: int,
    limit: int,
    max_usage: int,
    fail_count: int,
    memsw_limit: int,
) -> MemoryStats:
    working_set = max(0, usage - stat.get("total_inactive_file", 0))
    return MemoryStats(
        usage_bytes=usage,
        working_set_bytes=working_set,
        available_bytes=_available(limit, working_set),
        rss_bytes=stat.get("total_rss", 0),
        page_faults=stat.get("total_pgfault", 0),
        major_page_faults=stat.get("total_pgmajfault", 0),
        limit_bytes=limit,
        max_usage_bytes=max_usage,
        fail_count=fail_count,
        swap_usage_bytes=stat.get("total_swap", 0),
        swap_limit_bytes=_swap_limit_v1(limit, memsw_limit),
        raw=stat,
    )


def _swap_limit_v1(limit: int, memsw_limit: int) -> int:
    if not memsw_limit:
        return 0  # no swap accounting in this kernel
    return parse.UNLIMITED if memsw_limit >= parse.UNLIMITED else max(0, memsw_limit - limit)


def _read_v2(folder: str, host: HostCpu, files: OpenFiles) -> CgroupStats:
    def read(name: str) -> str:
        return files.read(f"{folder}/{name}")

    now = time.time_ns()
    cpu = parse.flat_keyed(read("cpu.stat"))
    stat = parse.flat_keyed(read("memory.stat"))
    usage, limit = parse.number(read("memory.current")), parse.number(read("memory.max"))
    working_set = max(0, usage - stat.get("inactive_file", 0))
    blkio_bytes, blkio_ops = parse.io_stat_v2(read("io.stat"))
    return CgroupStats(
        time_ns=now,
        cpu=CpuStats(
            total_ns=cpu.get("usage_usec", 0) * 1000,
            user_ns=cpu.get("user_usec", 0) * 1000,
            system_ns=cpu.get("system_usec", 0) * 1000,
            periods=cpu.get("nr_periods", 0),
            throttled_periods=cpu.get("nr_throttled", 0),
            throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            online_cpus=host.online(now),
            system_total_ns=host.total_ns(now),
        ),
        memory=MemoryStats(
            usage_bytes=usage,
            working_set_bytes=working_set,
            available_bytes=_available(limit, working_set),
            rss_bytes=stat.get("anon", 0),
            page_faults=stat.get("pgfault", 0),
            major_page_faults=stat.get("pgmajfault", 0),
            limit_bytes=limit,
            max_usage_bytes=parse.number(read("memory.peak")),
            fail_count=parse.flat_keyed(read("memory.events")).get("max", 0),
            swap_usage_bytes=parse.number(read("memory.swap.current")),
            swap_limit_bytes=parse.number(read("memory.swap.max")),
            raw=stat,
        ),
        blkio_bytes=blkio_bytes,
        blkio_ops=blkio_ops,
        pids_current=parse.number(read("pids.current")),
        pids_limit=_pids_limit(read("pids.max")),
        cpu_pressure=parse.pressure(read("cpu.pressure")),
        memory_pressure=parse.pressure(read("memory.pressure")),
        io_pressure=parse.pressure(read("io.pressure")),
    )


def _available(limit: int, working_set: int) -> int:
    """CRI's availableBytes: what the limit leaves; 0 when there is no limit."""
    return max(0, limit - working_set) if 0 < limit < parse.UNLIMITED else 0


def _pids_limit(text: str) -> int:
    """0: no limit."""
    limit = parse.number(text)
    return 0 if limit >= parse.UNLIMITED else limit


def read_oom_kills(hierarchies: Hierarchies, path: str) -> int | None:
    """Processes of the cgroup that the kernel's OOM killer took; ``None`` when the cgroup is gone."""
    if hierarchies.version == 2:
        text = read_text(f"{hierarchies.unified}{path}/memory.events")
    else:
        root = hierarchies.v1.get("memory")
        text = read_text(f"{root}{path}/memory.oom_control") if root is not None else ""
    return parse.flat_keyed(text).get("oom_kill", 0) if text else None
