"""Looks at this host: small files of /proc and /sys, and one short command. Blocking."""

import os
import platform
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sharedrt.config import Config
from sharedrt.drivers.cgroups.mountinfo import Hierarchies, read_hierarchies
from sharedrt.drivers.hostinfo import find_tool

_CAPABILITY_BITS: Final = {"CAP_SYS_ADMIN": 21, "CAP_NET_ADMIN": 12, "CAP_SYS_RESOURCE": 24}
_IP_FORWARD: Final = "/proc/sys/net/ipv4/ip_forward"
_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class HostState:
    """What was seen. ``None`` where a thing could not be read at all."""

    euid: int = 0
    kernel: str = "6.1.0"
    tools: Mapping[str, str] = field(default_factory=dict)
    """Tool to path, empty where it is missing."""
    cni_configured: bool = False
    cni_plugins: bool = True
    file_systems: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset(_CAPABILITY_BITS)
    locked_memory_bound: bool = False
    """The hard limit of locked memory is not 'unlimited'."""
    cgroups: Hierarchies = field(default_factory=Hierarchies)
    ip_forward: bool = True
    ip_forward_settable: bool = True
    nft_problem: str = ""
    forward_policies: tuple[str, ...] = ()
    """Of each base chain on the forward hook, other than ours, that drops: ``family table chain``."""
    nameservers: tuple[str, ...] = ()
    upstream_nameservers: tuple[str, ...] = ()
    """Of systemd-resolved's list of real servers."""
    state_file_system: str = ""
    state_free_bytes: int | None = None
    seccomp: bool = True


def read_host_state(config: Config) -> HostState:
    """Look at this host as a daemon of this configuration would find it."""
    mounts = _mounts()
    tools = {
        "crun": config.runtime.handlers.get("crun", "crun"),
        "runc": config.runtime.handlers.get("runc", "runc"),
        "conmon": config.runtime.conmon,
        "catatonit": config.runtime.catatonit,
        "nft": "nft",
        "iptables": "iptables",
        "ip6tables": "ip6tables",
    }
    found = {name: find_tool(path) for name, path in tools.items()}
    nft_problem, policies = _nftables(found["nft"], config.network.nft_table)
    state_dir = _existing(config.daemon.state_dir)
    return HostState(
        euid=os.geteuid(),
        kernel=platform.release(),
        tools=found,
        cni_configured=any(
            name.endswith((".conf", ".conflist", ".json"))
            for name in _names_in(config.cni.conf_dir)
        ),
        cni_plugins=any(_names_in(folder) for folder in config.cni.bin_dirs),
        file_systems=frozenset(_text("/proc/filesystems").split()),
        namespaces=frozenset(_names_in(Path("/proc/self/ns"))),
        capabilities=_bounding_set(),
        locked_memory_bound=resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        != resource.RLIM_INFINITY,
        cgroups=read_hierarchies(),
        ip_forward=_text(_IP_FORWARD).strip() == "1",
        ip_forward_settable=os.access(_IP_FORWARD, os.W_OK),
        nft_problem=nft_problem,
        forward_policies=policies,
        nameservers=_nameservers("/etc/resolv.conf"),
        upstream_nameservers=_nameservers("/run/systemd/resolve/resolv.conf"),
        state_file_system=_file_system(mounts, state_dir),
        state_free_bytes=shutil.disk_usage(state_dir).free,
        seccomp=os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
    )


@dataclass(frozen=True, slots=True)
class _MountLine:
    point: str
    kind: str


def _mounts() -> list[_MountLine]:
    """proc(5), mountinfo: the type stands behind a lone dash."""
    lines = []
    for line in _text("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        kind = right.partition(" ")[0]
        point = left.split(" ")[4].encode().decode("unicode_escape")
        lines.append(_MountLine(point, kind))
    return lines


def _file_system(mounts: Sequence[_MountLine], path: Path) -> str:
    """Of the innermost mount that holds the path; of those on one point, the last."""
    best = _MountLine("", "unknown")
    for mount in mounts:
        inside = (
            mount.point == "/" or path == Path(mount.point) or Path(mount.point) in path.parents
        )
        if inside and len(mount.point) >= len(best.point):
            best = mount
    return best.kind


def _nftables(nft: str, own_table: str) -> tuple[str, tuple[str, ...]]:
    """Whether nft works, and the foreign chains that drop what is forwarded."""
    if not nft:
        return "", ()
    try:
        done = subprocess.run(
            [nft, "list", "chains"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nft cannot be run: {error}", ()
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return f"nft fails: {lines[0] if lines else f'exit code {done.returncode}'}", ()
    return "", tuple(dropping_chains(done.stdout, own_table))


def dropping_chains(listing: str, own_table: str) -> Iterator[str]:
    """``family table chain`` of each base chain in ``nft list chains`` that drops on the forward hook."""
    table = chain = ""
    for line in listing.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif words[:1] == ["chain"]:
            chain = words[1]
        elif "hook forward" in line and "policy drop" in line and table.split()[-1] != own_table:
            yield f"{table} {chain}"


def _bounding_set() -> frozenset[str]:
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", _text("/proc/self/status"), re.MULTILINE)
    mask = int(found[1], 16) if found else 0
    return frozenset(name for name, bit in _CAPABILITY_BITS.items() if mask >> bit & 1)


def _nameservers(path: str) -> tuple[str, ...]:
    words = (line.split() for line in _text(path).splitlines())
    return tuple(line[1] for line in words if len(line) > 1 and line[0] == "nameserver")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
