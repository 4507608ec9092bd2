"""Pure parsers of cgroup and procfs files: text in, numbers out. Missing or odd lines are skipped, never guessed.

Source: the kernel's ``Documentation/admin-guide/cgroup-v1/`` and ``cgroup-v2.rst``, ``accounting/psi.rst``, proc(5).
"""

from typing import Final

from sharedrt.model.drivers import BlkioEntry, NetworkStats, PressureStats

UNLIMITED: Final = 0x7FFF_FFFF_FFFF_F000
"""What v1 says for 'no limit' on 4 KiB pages; v2's ``max`` is read as the same figure."""


def number(text: str) -> int:
    """One figure; ``max`` is :data:`UNLIMITED`, an empty text 0."""
    text = text.strip()
    if text == "max":
        return UNLIMITED
    return int(text) if text else 0


def flat_keyed(text: str) -> dict[str, int]:
    """``key value`` lines, as in memory.stat, cpu.stat and memory.events."""
    words = text.split()
    try:
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))
    except ValueError:
        return _flat_keyed_slowly(text)


def _flat_keyed_slowly(text: str) -> dict[str, int]:
    """The same for a file with lines of another kind among them."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.lstrip("-").isdecimal() and value.isascii():
            found[key] = int(value)
    return found


def per_cpu(text: str) -> tuple[int, ...]:
    """cpuacct.usage_percpu: nanoseconds of each CPU, blank separated."""
    return tuple(int(word) for word in text.split() if word.isdigit())


def blkio_v1(text: str) -> tuple[BlkioEntry, ...]:
    """``8:0 Read 4096`` lines; the closing grand total is left out."""
    found = []
    for line in text.splitlines():
        match line.split():
            case [device, op, value] if value.isdigit() and (number := _device(device)):
                found.append(BlkioEntry(*number, op, int(value)))
    return tuple(found)


def io_stat_v2(text: str) -> tuple[tuple[BlkioEntry, ...], tuple[BlkioEntry, ...]]:
    """io.stat: (bytes, operations), with the operations ``read``, ``write`` and ``discard``."""
    sizes: list[BlkioEntry] = []
    counts: list[BlkioEntry] = []
    names = {"r": "read", "w": "write", "d": "discard"}
    for line in text.splitlines():
        words = line.split()
        number = _device(words[0]) if words else None
        if number is None:
            continue
        for word in words[1:]:
            key, _, value = word.partition("=")
            op = names.get(key[:1])
            if op is None or not value.isdigit():
                continue
            if key[1:] == "bytes":
                sizes.append(BlkioEntry(*number, op, int(value)))
            elif key[1:] == "ios":
                counts.append(BlkioEntry(*number, op, int(value)))
    return tuple(sizes), tuple(counts)


def _device(text: str) -> tuple[int, int] | None:
    major, colon, minor = text.partition(":")
    return (int(major), int(minor)) if colon and major.isdigit() and minor.isdigit() else None


def pressure(text: str) -> PressureStats | None:
    """A ``*.pressure`` file; ``None`` for an empty one (PSI switched off)."""
    figures: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        kind, *words = line.split()
        figures[kind] = {key: float(value) for key, _, value in (w.partition("=") for w in words)}
    if not figures:
        return None
    some, full = figures.get("some", {}), figures.get("full", {})
    return PressureStats(
        some_avg10=some.get("avg10", 0.0),
        some_avg60=some.get("avg60", 0.0),
        some_avg300=some.get("avg300", 0.0),
        some_total_us=int(some.get("total", 0)),
        full_avg10=full.get("avg10", 0.0),
        full_avg60=full.get("avg60", 0.0),
        full_avg300=full.get("avg300", 0.0),
        full_total_us=int(full.get("total", 0)),
    )


def net_dev(text: str) -> tuple[NetworkStats, ...]:
    """``/proc/PID/net/dev`` without ``lo``, in the kernel's order."""
    found = []
    for line in text.splitlines()[2:]:
        name, colon, rest = line.partition(":")
        figures = rest.split()
        interface = name.strip()
        if not colon or interface == "lo" or len(figures) < 12:
            continue
        rx, tx = [int(f) for f in figures[:4]], [int(f) for f in figures[8:12]]
        found.append(NetworkStats(interface, *rx, *tx))
    return tuple(found)


def system_cpu_ticks(proc_stat: str) -> int:
    """The host's whole CPU time, in clock ticks: user, nice, system, idle, iowait, irq, softirq."""
    for line in proc_stat.splitlines():
        if line.startswith("cpu "):
            return sum(int(word) for word in line.split()[1:8])
    return 0
