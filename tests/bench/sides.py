"""The daemons that are compared, each started on private folders and asked over its sockets alone."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
from grpclib.client import Channel
from grpclib.exceptions import GRPCError

from sharedrt.pb.runtime.v1 import RuntimeServiceStub, VersionRequest
from tests.real.daemon import DaemonUnderTest

START_TIMEOUT_S = 60.0


class Side:
    """One daemon."""

    name: str
    number: int
    """Of the run: it is in all names on the host."""
    cri: Path | None = None
    """Its CRI socket, if it has one."""
    docker: Path | None = None

    async def start(self) -> float:
        """Start it; seconds until it answers."""
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    async def load(self, archive: Path) -> None:
        """Import an image into each of its doors."""
        raise NotImplementedError

    def pid(self) -> int:
        raise NotImplementedError


class Ours(Side):
    name = "sharedrt"

    def __init__(self) -> None:
        self.daemon = DaemonUnderTest(
            {"daemon": {"log_level": "info", "log_format": "console"}, "admin": {"enabled": True}}
        )
        self.number, self.root = self.daemon.number, self.daemon.root
        self.cri, self.docker = self.daemon.socket("cri"), self.daemon.socket("docker")

    async def start(self) -> float:
        began = time.monotonic()
        await self.daemon.start()
        return time.monotonic() - began

    async def stop(self) -> None:
        await self.daemon.stop()

    async def load(self, archive: Path) -> None:
        for namespace in ("k8s.io", "moby"):
            await self.daemon.cli("-n", namespace, "images", "import", str(archive))

    def pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid


class Peer(Side):
    """A Debian daemon below ``root``; ``number`` is in all its names on the host."""

    command: Sequence[str]

    def __init__(self, root: Path, number: int) -> None:
        self.root, self.number = root / self.name, number
        self.root.mkdir()
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> float:
        began = time.monotonic()
        with (self.root / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdout=log, stderr=log, start_new_session=True
            )
        while not await self._answers():
            if self.process.returncode is not None or time.monotonic() - began > START_TIMEOUT_S:
                raise RuntimeError(f"{self.name} does not start:\n{self._log()}")
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            async with asyncio.timeout(30):
                await self.process.wait()

    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def _answers(self) -> bool:
        raise NotImplementedError

    def _log(self) -> str:
        return (self.root / "log").read_text(errors="replace")[-3000:]


class Containerd(Peer):
    """Debian's containerd with its CRI plugin, on a CNI bridge."""

    name = "containerd"

    def __init__(self, root: Path, number: int, pause: str) -> None:
        super().__init__(root, number)
        self.cri = self.root / "containerd.sock"
        self.command = ("containerd", "--config", str(self.root / "config.toml"))
        (self.root / "config.toml").write_text(self._config(pause))
        (self.root / "cni").mkdir()
        (self.root / "cni" / "10-bench.conflist").write_text(json.dumps(self._network()))

    def _config(self, pause: str) -> str:
        root = self.root
        return f"""
version = 2
root = "{root}/root"
state = "{root}/state"
disabled_plugins = [{", ".join(f'"io.containerd.snapshotter.v1.{n}"' for n in ("aufs", "btrfs", "devmapper", "zfs"))}]
[grpc]
address = "{self.cri}"
[ttrpc]
address = "{root}/ttrpc.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{root}/cni"
bin_dir = "/usr/lib/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{root}/runc"
"""

    def _network(self) -> dict[str, object]:
        subnet = f"10.90.{self.number}.0/24"
        ipam = {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(self.root / "addresses"),
        }
        bridge = {
            "type": "bridge",
            "bridge": f"src{self.number}",
            "isGateway": True,
            "ipMasq": False,
            "ipam": ipam,
        }
        return {"cniVersion": "0.4.0", "name": f"bench{self.number}", "plugins": [bridge]}

    async def _answers(self) -> bool:
        try:
            async with Channel(path=str(self.cri)) as channel, asyncio.timeout(2):
                await RuntimeServiceStub(channel).version(VersionRequest())
        except (OSError, GRPCError, TimeoutError):
            return False
        return True

    async def load(self, archive: Path) -> None:
        await _run("ctr", "--address", str(self.cri), "-n", "k8s.io", "images", "import", archive)


class Dockerd(Peer):
    """Debian's dockerd with a containerd of its own, on a bridge without any firewall rule."""

    name = "dockerd"

    def __init__(self, root: Path, number: int) -> None:
        super().__init__(root, number)
        self.docker = self.root / "docker.sock"
        self.bridge = f"srd{number}"
        self.command = (
            "dockerd",
            *("--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/exec"),
            *("--pidfile", f"{self.root}/pid", "--host", f"unix://{self.docker}"),
            *("--bridge", self.bridge, "--cgroup-parent", f"/srd{number}"),
            *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"),
            *("--config-file", f"{self.root}/daemon.json", "--log-level", "warn"),
        )
        (self.root / "daemon.json").write_text("{}")
        for words in (
            f"link add {self.bridge} type bridge",
            f"address add 172.27.{number}.1/24 dev {self.bridge}",
            f"link set {self.bridge} up",
        ):
            subprocess.run(["ip", *words.split()], check=True)

    async def _answers(self) -> bool:
        connector = aiohttp.UnixConnector(str(self.docker))
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://docker/_ping") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    async def load(self, archive: Path) -> None:
        await _run("docker", "--host", f"unix://{self.docker}", "load", "-q", "-i", archive)


async def _run(*command: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command}: {out.decode(errors='replace')}")


def processes_below(root: Path) -> list[int]:
    """Pids whose command lines name a folder."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if str(root).encode() in Path("/proc", entry, "cmdline").read_bytes():
                    found.append(int(entry))
    return found


def remove_traces(peers: Sequence[Peer]) -> None:
    """What a stopped peer leaves on the host: shims, mounts, bridges, empty cgroups."""
    for peer in peers:
        for pid in processes_below(peer.root):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in reversed([m for m in mounts if m.startswith(f"{peer.root}/")]):
            subprocess.run(["umount", "--lazy", mount], check=True)
        for bridge in (f"src{peer.number}", f"srd{peer.number}"):
            if Path("/sys/class/net", bridge).exists():
                subprocess.run(["ip", "link", "del", bridge], check=True)
        for parent in (f"srd{peer.number}", f"srb{peer.number}"):
            for pattern in (parent, f"*/{parent}"):  # v2, v1
                for folder in Path("/sys/fs/cgroup").glob(pattern):
                    folder.rmdir()
    for folder in (Path("/run/containerd/s"), Path("/run/containerd")):
        # Where shims listen: no setting moves it. Another containerd may use it too.
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.asynccontextmanager
async def all_sides(root: Path, pause: str) -> AsyncIterator[tuple[Ours, Containerd, Dockerd]]:
    """The three, not started yet; stopped and their traces removed at the end."""
    ours = Ours()
    peers: list[Peer] = []
    try:
        containerd = Containerd(root, ours.number, pause)
        peers.append(containerd)
        dockerd = Dockerd(root, ours.number)
        peers.append(dockerd)
        yield ours, containerd, dockerd
    finally:
        try:
            for peer in peers:
                await peer.stop()
            await asyncio.to_thread(remove_traces, peers)
        finally:
            await ours.daemon.purge()
