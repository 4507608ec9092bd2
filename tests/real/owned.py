"""What a daemon has on the host and on disk, by the object that owns it, compared with what it lists."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, DockerClient
from tests.real.daemon import DaemonUnderTest


@dataclass
class Owners:
    """Ids of what the daemon lists."""

    containers: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    """With the sandboxes that are ready."""
    sandboxes: set[str] = field(default_factory=set)
    on_bridges: int = 0
    """How many of the running are on a bridge of ours: each has one veth."""

    @property
    def all(self) -> set[str]:
        return self.containers | self.sandboxes


async def listed(cri: CriClient, docker: DockerClient) -> Owners:
    """All that both doors list."""
    owners = Owners()
    for container in (await cri.runtime.list_containers(pb.ListContainersRequest())).containers:
        owners.containers.add(container.id)
        if container.state is pb.ContainerState.CONTAINER_RUNNING:
            owners.running.add(container.id)
    for sandbox in (await cri.runtime.list_pod_sandbox(pb.ListPodSandboxRequest())).items:
        owners.sandboxes.add(sandbox.id)
        if sandbox.state is pb.PodSandboxState.SANDBOX_READY:
            owners.running.add(sandbox.id)
            owners.on_bridges += 1
    _, rows = await docker.get("/containers/json", all="1")
    for row in rows:
        owners.containers.add(row["Id"])
        if row["State"] in ("running", "paused"):
            owners.running.add(row["Id"])
            owners.on_bridges += row["HostConfig"]["NetworkMode"] in ("default", "bridge")
    return owners


def unowned(daemon: DaemonUnderTest, owners: Owners) -> list[str]:
    """What nobody owns: folders, mounts, cgroups, processes of no row; more veths than there should be."""
    found = list(_folders(daemon, owners))
    root = str(daemon.root)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if point == f"{root}/run/files":  # private propagation for the pins below
            continue
        if point.startswith(root) and not any(id in point for id in owners.running):
            found.append(f"mount {point}")
    parent = f"srt{daemon.number}"
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        if parent not in folder:
            continue
        found += [
            f"cgroup {folder}/{name}"
            for name in names
            if len(name) >= 64 and not any(id in name for id in owners.running)
        ]
    veths = [n for n in os.listdir("/sys/class/net") if n.startswith(f"s{daemon.number}")]
    if len(veths) != owners.on_bridges:
        found.append(f"{len(veths)} veths for {owners.on_bridges} owners: {veths}")
    endpoints = _endpoint_elements(f"srt{daemon.number}")
    if endpoints > owners.on_bridges:
        found.append(f"nft elements of {endpoints} endpoints for {owners.on_bridges} owners")
    for pid, words in _processes():
        ours = root in words and "conmon" in words.split(" ")[0]
        if ours and not any(id in words for id in owners.running):
            found.append(f"process {pid} {words}")
    return found


def _folders(daemon: DaemonUnderTest, owners: Owners) -> Iterator[str]:
    run, state = daemon.root / "run", daemon.root / "state"
    for pattern, known in (
        ("files/*/containers/*", owners.running),
        ("files/*/sandboxes/*", owners.sandboxes),
        ("oci/bundles/*/*", owners.running),
        ("oci/runtimes/*/*/*", owners.running),
    ):
        yield from (str(p) for p in run.glob(pattern) if p.name not in known)
    for pattern, known in (
        ("containers/*/*", owners.containers),
        ("oci/exits/*/*", owners.running),
        ("snapshots/active/*", owners.containers),
    ):
        yield from (str(p) for p in state.glob(pattern) if p.name.rpartition("@")[2] not in known)


def _endpoint_elements(table: str) -> int:
    """How many endpoints have published ports in the table: its elements' comments name them."""
    listing = subprocess.run(
        ["nft", "--json", "list", "table", "inet", table], capture_output=True, text=True
    )
    if listing.returncode:
        return 0
    owners: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            comment = value.get("comment")
            if isinstance(comment, str) and comment.startswith("endpoint:"):
                owners.add(comment)
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(json.loads(listing.stdout))
    return len(owners)


def _processes() -> Iterator[tuple[int, str]]:
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                words = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ")
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(entry), words.decode(errors="replace")
