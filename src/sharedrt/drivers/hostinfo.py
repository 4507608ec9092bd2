"""Facts about this host and the tools on it, gathered once at start-up."""

import asyncio
import os
import platform
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sharedrt.drivers.children import run
from sharedrt.model.faults import DeadlineExceeded

_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "i686": "386",
}
_FILE_SYSTEMS: Final = {"ext2": "extfs", "ext3": "extfs", "ext4": "extfs", "overlay": "overlayfs"}
"""dockerd's names, where they differ from the kernel's."""

PACKAGES: Final[Mapping[str, str]] = {
    "crun": "crun",
    "runc": "runc",
    "conmon": "conmon",
    "catatonit": "catatonit",
    "nft": "nftables",
}
"""Debian's package of each tool."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The host as /proc and os-release tell it."""

    hostname: str
    kernel: str
    operating_system: str
    os_version: str
    machine: str
    architecture: str
    cpus: int
    memory_bytes: int
    boot_id: str


def read_host_facts() -> HostFacts:
    """Blocking, but only on /proc and one small file."""
    release = _os_release()
    machine = platform.machine()
    return HostFacts(
        hostname=platform.node(),
        kernel=platform.release(),
        operating_system=release.get("PRETTY_NAME", "Linux"),
        os_version=release.get("VERSION_ID", ""),
        machine=machine,
        architecture=_ARCHITECTURES.get(machine, machine),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    )


def engine_id(state_dir: Path) -> str:
    """This engine's id, kept in its state folder as dockerd keeps its own. Blocking: a file, and its disk."""
    file = state_dir / "engine-id"
    with suppress(FileNotFoundError):
        if known := file.read_text().strip():
            return known
    made = str(uuid.uuid4())
    temporary = state_dir / ".engine-id.new"
    with open(temporary, "w") as new:
        new.write(made)
        new.flush()
        os.fsync(new.fileno())
    os.rename(temporary, file)
    return made


def storage_status(state_dir: Path) -> tuple[tuple[str, str], ...]:
    """What dockerd's ``overlay2`` says of itself, as far as it is so here. Blocking, but only on /proc."""
    kind = mount_type(state_dir)
    return (
        ("Backing Filesystem", _FILE_SYSTEMS.get(kind, kind or "unknown")),
        ("Supports d_type", "true"),  # no snapshot could be mounted otherwise
        ("Native Overlay Diff", "true"),
        ("userxattr", "false"),
    )


def mount_type(path: Path) -> str:
    """The type of the file system that a folder is on, by /proc/self/mountinfo; empty when it is not shown."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return ""


def security_options() -> tuple[str, ...]:
    """What containers are confined by on this host. Blocking, but only on /proc."""
    found = ["name=seccomp,profile=builtin"]
    if Path("/proc/self/ns/cgroup").exists():
        found.append("name=cgroupns")
    return tuple(found)


def find_tool(name: str) -> str:
    """Absolute path of a binary: a path as it is, a name from PATH; empty when there is none."""
    return shutil.which(name) or ""


async def tool_versions(tools: Sequence[str], run_dir: Path) -> Mapping[str, str]:
    """``--version`` of each tool that is there, all at once; what they make on the way is made in ``run_dir``."""
    paths = [(tool, find_tool(tool)) for tool in tools]
    found = [(tool, path) for tool, path in paths if path]
    versions = await asyncio.gather(*(_version(path, run_dir) for _, path in found))
    return {Path(tool).name: version for (tool, _), version in zip(found, versions, strict=True)}


async def cni_version(bin_dirs: Sequence[Path]) -> str:
    """The newest version of the CNI specification that the plugins of this host speak; empty without plugins.

    Debian's say of themselves only this: their own version is 'unknown'.
    """
    for folder in bin_dirs:
        plugin = folder / "bridge"
        if not plugin.is_file():
            continue
        output = await _output(str(plugin))
        if found := re.search(r"protocol versions supported: ([\d., ]+)", output):
            return found[1].split(",")[-1].strip()
        return "unknown"
    return ""


async def _version(path: str, run_dir: Path) -> str:
    output = await _output(path, "--version", env={"XDG_RUNTIME_DIR": str(run_dir)})
    match = re.search(r"\d+(?:\.\d+)+\S*", output)
    return match[0] if match else "unknown"


async def _output(path: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What a tool says, on both streams; nothing when it does not end."""
    try:
        told = await run([path, *arguments], timeout_s=5, env={**os.environ, **(env or {})})
    except DeadlineExceeded:
        return ""
    return told.output


def _os_release() -> dict[str, str]:
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        if path.exists():
            pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
            return {key: value.strip("\"'") for key, value in pairs}
    return {}
