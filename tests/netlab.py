"""A whole network in network namespaces of its own: nothing of the machine's is touched.

``Lab`` has a *host* namespace, where the driver works, and an *outside* one, wired to it like a machine on the same
wire. Containers are further namespaces. Probes run in a forked ``python`` inside a namespace.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import pytest

from sharedrt.drivers.hostfs import HostFs
from sharedrt.drivers.network.bridge import HostBridges
from sharedrt.drivers.network.namespaces import PinnedNamespaces
from sharedrt.model.drivers import BridgeConfig, EndpointConfig
from sharedrt.model.mac import mac_address
from sharedrt.model.records import PortMapping

HOST = "203.0.113.1"
OUTSIDE = "203.0.113.2"
HOST6 = "fd00:aa::1"
OUTSIDE6 = "fd00:aa::2"

SERVER = """
import socket, sys
kind, address, port, name = sys.argv[1:5]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((address, int(port)))
if kind == "tcp":
    s.listen()
print("ready", flush=True)
while True:
    if kind == "tcp":
        c, peer = s.accept()
        c.sendall(f"{name} {peer[0]}".encode()); c.close()
    else:
        data, peer = s.recvfrom(100)
        s.sendto(f"{name} {peer[0]}".encode(), peer)
"""
SINK = """
import socket, sys, time
s = socket.create_server((sys.argv[1], 5001))
print("ready", flush=True)
c, _ = s.accept()
first = c.recv(65536)
start, total = time.monotonic(), 0
while data := c.recv(65536):
    total += len(data)
print(total * 8 / (time.monotonic() - start), flush=True)
"""
SOURCE = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], 5001))
end = time.monotonic() + 1.5
while time.monotonic() < end:
    s.send(bytes(8192))
"""
CLIENT = """
import socket, sys
kind, address, port, bind, wait_s = sys.argv[1:6]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(float(wait_s))
if bind:
    s.bind(("", int(bind)))
try:
    s.connect((address, int(port)))
    if kind == "udp":
        s.send(b"x")
    print(s.recv(100).decode())
except OSError as error:
    print("refused" if isinstance(error, ConnectionRefusedError) else "no answer")
"""


@dataclass
class Lab:
    folder: Path
    namespaces: PinnedNamespaces
    bridges: HostBridges
    table: str
    processes: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def netns(self, name: str) -> Path:
        return self.folder / "ns" / name / "net"

    async def new_netns(self, name: str) -> Path:
        made = await self.namespaces.create(
            self.folder / "ns" / name, frozenset({"net"}), hostname="", sysctls={}
        )
        return made["net"]

    def sh(self, where: str, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            ("nsenter", f"--net={self.netns(where)}", *command),
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def serve(self, where: str, port: int, kind: str = "tcp", address: str = "0.0.0.0") -> None:
        """Answer every connection with the container's name and the peer's address."""
        process = subprocess.Popen(
            (
                *("nsenter", f"--net={self.netns(where)}"),
                *(sys.executable, "-S", "-E", "-c", SERVER, kind, address, str(port), where),
            ),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def start(self, where: str, program: str) -> Callable[[], str]:
        """A Python program that says ``ready``; the result waits for its next line."""
        process = subprocess.Popen(
            (
                *("nsenter", f"--net={self.netns(where)}"),
                *(sys.executable, "-S", "-E", "-c", program),
            ),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        stdout = process.stdout
        assert stdout is not None
        assert stdout.readline() == "ready\n"
        return lambda: stdout.readline().strip()

    def ask(
        self,
        where: str,
        address: str,
        port: int,
        kind: str = "tcp",
        source_port: str = "",
        wait_s: float = 20,
    ) -> str:
        """What the server says: ``NAME PEER``; or ``refused``, or ``no answer`` after ``wait_s``."""
        client = (CLIENT, kind, address, str(port), source_port, str(wait_s))
        return self.sh(where, sys.executable, "-S", "-E", "-c", *client).strip()

    def throughput(self, source: str, target: str, address: str) -> float:
        """Bits a second of one TCP connection."""
        python = (sys.executable, "-S", "-E", "-c")
        command = ("nsenter", f"--net={self.netns(target)}", *python, SINK, address)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
            assert sink.stdout is not None
            assert sink.stdout.readline() == "ready\n"
            self.sh(source, *python, SOURCE, address)
            return float(sink.stdout.readline())

    async def bridge(
        self, name: str = "br0", *addresses: str, internal: bool = False, icc: bool = True
    ) -> BridgeConfig:
        config = BridgeConfig(
            name, addresses or ("172.31.0.1/24",), internal=internal, inter_container=icc
        )
        await self.bridges.ensure_bridge(config)
        return config

    async def container(
        self,
        name: str,
        bridge: BridgeConfig,
        *addresses: str,
        ports: Sequence[PortMapping] = (),
        ingress_bps: int = 0,
        egress_bps: int = 0,
    ) -> EndpointConfig:
        await self.new_netns(name)
        config = EndpointConfig(
            id=f"{name}-{self.table}",
            bridge=bridge.name,
            netns=self.netns(name),
            interface="eth0",
            mac=mac_address(addresses),
            addresses=addresses,
            gateways=()
            if bridge.internal
            else tuple(cidr.partition("/")[0] for cidr in bridge.addresses),
            ports=tuple(ports),
            ingress_bps=ingress_bps,
            egress_bps=egress_bps,
        )
        await self.bridges.connect(config)
        return config

    def end_servers(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.processes.clear()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with laboratory() as made:
        yield made


@asynccontextmanager
async def laboratory() -> AsyncIterator[Lab]:
    """One with nothing in it, removed at the end."""
    folder = Path(mkdtemp(prefix="srt-net-"))
    namespaces = PinnedNamespaces(folder)
    for name in ("host", "outside"):
        await namespaces.create(folder / "ns" / name, frozenset({"net"}), hostname="", sysctls={})
    table = "t" + secrets.token_hex(4)
    bridges = HostBridges(table=table, prefix="tst", netns=folder / "ns/host/net")
    lab = Lab(folder, namespaces, bridges, table)
    try:
        wire(lab)
        yield lab
    finally:
        lab.end_servers()
        await lab.bridges.aclose()
        await HostFs().remove_tree(folder)


def wire(lab: Lab) -> None:
    lab.sh("host", "ip", "link", "add", "wire", "type", "veth", "peer", "name", "tmp")
    fd = os.open(lab.netns("outside"), os.O_RDONLY)
    try:
        subprocess.run(
            (
                *("nsenter", f"--net={lab.netns('host')}"),
                *("ip", "link", "set", "tmp", "netns", f"/proc/{os.getpid()}/fd/{fd}"),
                *("name", "wire"),
            ),
            check=True,
        )
    finally:
        os.close(fd)
    for where, address, address6 in (("host", HOST, HOST6), ("outside", OUTSIDE, OUTSIDE6)):
        lab.sh(where, "ip", "address", "add", f"{address}/24", "dev", "wire")
        lab.sh(where, "ip", "address", "add", f"{address6}/64", "dev", "wire", "nodad")
        lab.sh(where, "ip", "link", "set", "wire", "up")
