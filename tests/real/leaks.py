"""What a host has that a runtime could leave behind, before and after."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostTraces:
    """Mounts, namespaces' pins, cgroups, systemd's units, links (veths too), nft tables with their elements,
    processes and folders that look like ours.

    ``marks`` are words that only our own things carry in their names: the run's root folder, its bridge
    names, its nft table, its cgroup parent.
    """

    mounts: frozenset[str]
    """Without the namespaces'."""
    namespaces: frozenset[str]
    """Pins of network, IPC, UTS and user namespaces."""
    cgroups: frozenset[str]
    units: frozenset[str]
    """systemd's, where it runs the host: a slice outlives its cgroup."""
    links: frozenset[str]
    tables: frozenset[str]
    processes: frozenset[str]
    """By their command line, or by a root of their own that is made of our layers."""
    folders: frozenset[str]
    """Below /tmp, where test daemons have theirs."""

    @classmethod
    def kinds(cls) -> frozenset[str]:
        return frozenset(cls.__annotations__)

    def found(self) -> dict[str, frozenset[str]]:
        """What there is, by kind; empty when nothing is left."""
        kinds = {name: getattr(self, name) for name in self.kinds()}
        return {name: items for name, items in kinds.items() if items}


def look(marks: tuple[str, ...]) -> HostTraces:
    """All that carries one of ``marks`` in its name."""

    def ours(text: str) -> bool:
        return any(mark in text for mark in marks)

    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    pins = {words[4] for words in lines if words[words.index("-") + 1] == "nsfs"}
    links = os.listdir("/sys/class/net")
    tables = subprocess.run(
        ["nft", "list", "tables"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return HostTraces(
        mounts=frozenset(filter(ours, {words[4] for words in lines} - pins)),
        namespaces=frozenset(filter(ours, pins)),
        cgroups=frozenset(_cgroups(marks)),
        units=frozenset(filter(ours, _units())),
        links=frozenset(filter(ours, links)),
        tables=frozenset(filter(ours, tables)),
        processes=frozenset(_processes(marks)),
        folders=frozenset(filter(ours, map(str, Path("/tmp").iterdir()))),
    )


def _cgroups(marks: tuple[str, ...]) -> list[str]:
    root = Path("/sys/fs/cgroup")
    found = []
    for folder, names, _ in os.walk(root):
        found += [str(Path(folder, name)) for name in names if any(m in name for m in marks)]
    return found


def _units() -> list[str]:
    if not Path("/run/systemd/system").is_dir():
        return []
    kinds = "--type=slice,scope,service"  # a mount's unit goes a moment after the mount
    command = ["systemctl", "list-units", "--all", kinds, "--plain", "--no-legend", "--full"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in listing.splitlines() if line.strip()]


def _processes(marks: tuple[str, ...]) -> list[str]:
    found = []
    host = os.readlink("/proc/self/ns/mnt")
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            line = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ")
            words = line.decode(errors="replace")
            inside = os.readlink(f"/proc/{entry}/ns/mnt") != host
            root = _root_mount(entry) if inside else ""
        except OSError:  # it has ended meanwhile
            continue
        if any(mark in words or mark in root for mark in marks):
            found.append(f"{entry} {words}")
    return found


def _root_mount(pid: str) -> str:
    """The line of a process's root: other mounts it may have as a copy of the host's."""
    lines = Path("/proc", pid, "mountinfo").read_text().splitlines()
    return next((line for line in lines if line.split()[4] == "/"), "")
