"""What a host has that a runtime could leave behind, before and after."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostTraces:
    """Mounts, network namespaces' pins, cgroups, links, nft tables and processes that look like ours.

    ``marks`` are words that only our own things carry in their names: the run's root folder, its bridge
    names, its nft table, its cgroup parent.
    """

    mounts: frozenset[str]
    cgroups: frozenset[str]
    links: frozenset[str]
    tables: frozenset[str]
    processes: frozenset[str]

    def found(self) -> dict[str, frozenset[str]]:
        """What there is, by kind; empty when nothing is left."""
        kinds = {name: getattr(self, name) for name in self.__annotations__}
        return {name: items for name, items in kinds.items() if items}


def look(marks: tuple[str, ...]) -> HostTraces:
    """All that carries one of ``marks`` in its name."""

    def ours(text: str) -> bool:
        return any(mark in text for mark in marks)

    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    links = os.listdir("/sys/class/net")
    tables = subprocess.run(
        ["nft", "list", "tables"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return HostTraces(
        mounts=frozenset(filter(ours, mounts)),
        cgroups=frozenset(_cgroups(marks)),
        links=frozenset(filter(ours, links)),
        tables=frozenset(filter(ours, tables)),
        processes=frozenset(_processes(marks)),
    )


def _cgroups(marks: tuple[str, ...]) -> list[str]:
    root = Path("/sys/fs/cgroup")
    found = []
    for folder, names, _ in os.walk(root):
        found += [str(Path(folder, name)) for name in names if any(m in name for m in marks)]
    return found


def _processes(marks: tuple[str, ...]) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            line = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(mark in line for mark in marks):
            found.append(f"{entry} {line}")
    return found
