"""Names that containers find each other by, those of the world, and the three files in /etc: by the docker CLI, on a
host of its own whose ``resolv.conf`` names a stub on its loopback."""

import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.netlab import Lab, laboratory
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

STUB = "127.0.0.53"
STUB_SERVER = """
import socket, struct, threading
def answer(query):
    end = query.index(b"\\0", 12) + 5
    known = query[12:end - 4].lower() == b"\\5world\\7example\\0"
    kind = struct.unpack(">H", query[end - 4:end - 2])[0]
    found = known and kind == 1
    head = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, found, 0, 0)
    record = b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([198, 51, 100, 7])
    return head + query[12:end] + (record if found else b"")
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.53", 53))
tcp = socket.create_server(("127.0.0.53", 53))
def streams():
    while True:
        peer, _ = tcp.accept()
        with peer:
            size = struct.unpack(">H", peer.recv(2))[0]
            said = answer(peer.recv(size))
            peer.sendall(struct.pack(">H", len(said)) + said)
threading.Thread(target=streams, daemon=True).start()
print("ready", flush=True)
while True:
    query, peer = udp.recvfrom(4096)
    udp.sendto(answer(query), peer)
"""
ASK = """
import ipaddress, socket, struct, sys
transport, name, kind = sys.argv[1], sys.argv[2], int(sys.argv[3])
labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\\0"
query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)
kinds = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
s = socket.socket(socket.AF_INET, kinds[transport])
s.settimeout(5)
s.connect(("127.0.0.11", 53))
if transport == "udp":
    s.send(query)
    reply = s.recv(4096)
else:
    s.sendall(struct.pack(">H", len(query)) + query)
    stream = s.makefile("rb")
    reply = stream.read(struct.unpack(">H", stream.read(2))[0])
flags, _, answers = struct.unpack(">HHH", reply[2:8])
at, found = len(query), []
for _ in range(answers):
    while (size := reply[at]) and size < 192:
        at += size + 1
    at += 2 if size else 1
    its, _, _, length = struct.unpack(">HHIH", reply[at:at + 10])
    data = reply[at + 10:at + 10 + length]
    if its in (1, 28):
        found.append(str(ipaddress.ip_address(data)))
    elif its == 12:
        parts, i = [], 0
        while data[i] and data[i] < 192:
            parts.append(data[i + 1:i + 1 + data[i]].decode()); i += data[i] + 1
        found.append(".".join(parts))
    at += 10 + length
print(flags & 15, *found)
"""
A, AAAA, PTR = 1, 28, 12
NXDOMAIN = "3"


class StubbedDaemon(DaemonUnderTest):
    """Its /etc/resolv.conf is its own; what is mounted on the host it sees."""

    @property
    def _command(self) -> Sequence[str]:
        own = self.root / "resolv.conf"
        own.write_text(f"nameserver {STUB}\nsearch corp.example\noptions edns0\n")
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        apart = ("unshare", "--mount", "--propagation", "slave", "sh", "-c", script, str(own))
        return (*apart, *super()._command)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with laboratory() as made:
        made.start("host", STUB_SERVER)
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(busybox_archive: Path, lab: Lab) -> AsyncIterator[DaemonUnderTest]:
    daemon = StubbedDaemon(netns=lab.netns("host"))
    try:
        await daemon.start()
        await daemon.cli("-n", "moby", "images", "import", str(busybox_archive))
        yield daemon
        ids = (await daemon.docker("ps", "-aq")).stdout.split()
        await daemon.docker("rm", "-f", *ids, check=bool(ids))
    finally:
        await daemon.purge()


async def ask(daemon: DaemonUnderTest, name: str, transport: str, question: str, kind: int) -> str:
    """The code and the answers that a container gets."""
    pid = (await daemon.docker("inspect", "-f", "{{.State.Pid}}", name)).stdout.strip()
    python = (sys.executable, "-S", "-E", "-c", ASK, transport, question, str(kind))
    done = await daemon.run("nsenter", f"--net=/proc/{pid}/ns/net", *python)
    return done.stdout.strip()


async def sleep(daemon: DaemonUnderTest, name: str, *arguments: str) -> str:
    """Start a container that waits; its id."""
    command = ("busybox", "sleep", "600")
    return (await daemon.docker("run", "-d", "--name", name, *arguments, *command)).stdout.strip()


async def cat(daemon: DaemonUnderTest, name: str, path: str) -> str:
    return (await daemon.docker("exec", name, "cat", path)).stdout


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_answers_of_every_kind(daemon: DaemonUnderTest, transport: str) -> None:
    await daemon.docker("network", "create", "--ipv6", "front")
    id = await sleep(daemon, "web", "--network", "front", "--network-alias", "www", "-h", "host1")
    await sleep(daemon, "peer", "--network", "front", "--link", "web:site")
    shown = await daemon.docker("inspect", "-f", "{{json .NetworkSettings.Networks.front}}", "web")
    endpoint = json.loads(shown.stdout)
    v4, v6 = endpoint["IPAddress"], endpoint["GlobalIPv6Address"]
    for name in ("web", "WWW", "host1", "site", id[:12], "web.front"):
        assert await ask(daemon, "peer", transport, name, A) == f"0 {v4}", name
        assert await ask(daemon, "peer", transport, name, AAAA) == f"0 {v6}", name
    reverse = ".".join(reversed(v4.split("."))) + ".in-addr.arpa"
    assert await ask(daemon, "peer", transport, reverse, PTR) == "0 web.front"
    # The world's names go to the host's stub, which the daemon alone can reach.
    assert await ask(daemon, "peer", transport, "world.example", A) == "0 198.51.100.7"
    assert await ask(daemon, "peer", transport, "nosuch.example", A) == NXDOMAIN
    await daemon.docker("rm", "-f", "web", "peer")
    await daemon.docker("network", "rm", "front")


async def test_unknown_names_are_refused_fast(daemon: DaemonUnderTest) -> None:
    """Also while nobody answers at the host's own resolver."""
    await daemon.docker("network", "create", "front")
    await sleep(daemon, "peer", "--network", "front", "--dns", "203.0.113.250")
    await sleep(daemon, "other", "--network", "front")
    for name, question in (("other", "nosuch"), ("other", "nosuch.example"), ("peer", "nosuch")):
        began = time.monotonic()
        said = await daemon.docker("exec", name, "wget", "-qO-", f"http://{question}/", check=False)
        assert "bad address" in said.stderr
        assert time.monotonic() - began < 9, "dockerd takes 10 s"
    await daemon.docker("rm", "-f", "peer", "other")
    await daemon.docker("network", "rm", "front")


async def test_the_files_in_etc(daemon: DaemonUnderTest) -> None:
    await daemon.docker("network", "create", "--ipv6", "front")
    id = await sleep(daemon, "plain", "--network", "front")
    shown = await daemon.docker(
        "inspect", "-f", "{{json .NetworkSettings.Networks.front}}", "plain"
    )
    endpoint = json.loads(shown.stdout)
    assert await cat(daemon, "plain", "/etc/hostname") == f"{id[:12]}\n"
    assert (await cat(daemon, "plain", "/etc/hosts")).splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        f"{endpoint['IPAddress']}\t{id[:12]}",
        f"{endpoint['GlobalIPv6Address']}\t{id[:12]}",
    ]
    # The host's search list and options go with the host's servers.
    words = (await cat(daemon, "plain", "/etc/resolv.conf")).splitlines()
    assert [w for w in words if w and not w.startswith("#")] == [
        "nameserver 127.0.0.11",
        "search corp.example",
        "options edns0 ndots:0",
    ]
    await sleep(
        *(daemon, "told", "--network", "front", "--hostname", "box", "--domainname", "lan"),
        *("--add-host", "db:192.0.2.9", "--add-host", "up:host-gateway"),
        *("--dns", "192.0.2.53", "--dns-search", "a.example", "--dns-option", "ndots:3"),
    )
    assert await cat(daemon, "told", "/etc/hostname") == "box\n"
    hosts = await cat(daemon, "told", "/etc/hosts")
    gateway = await daemon.docker(
        "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"
    )
    assert "192.0.2.9\tdb\n" in hosts
    assert f"{gateway.stdout.strip()}\tup\n" in hosts
    assert "\tbox.lan box\n" in hosts
    words = (await cat(daemon, "told", "/etc/resolv.conf")).splitlines()
    assert [w for w in words if w and not w.startswith("#")] == [
        "nameserver 127.0.0.11",
        "search a.example",
        "options ndots:3",
    ]
    # Without names of its own a network has the servers that were asked for, or what a container can reach.
    await sleep(daemon, "bare", "--dns", "192.0.2.53")
    assert "nameserver 192.0.2.53" in await cat(daemon, "bare", "/etc/resolv.conf")
    await sleep(daemon, "default")
    assert STUB not in await cat(daemon, "default", "/etc/resolv.conf")
    sysctl = "net.ipv6.conf.all.disable_ipv6=1"
    await sleep(daemon, "four", "--network", "front", "--sysctl", sysctl)
    assert ":" not in await cat(daemon, "four", "/etc/hosts")
    assert (await ask(daemon, "plain", "udp", "four", AAAA)) == "0"
    shown = await daemon.docker("inspect", "-f", "{{json .NetworkSettings.Networks.front}}", "four")
    assert json.loads(shown.stdout)["GlobalIPv6Address"] == ""
    await daemon.docker("rm", "-f", "plain", "told", "bare", "default", "four")
    await daemon.docker("network", "rm", "front")
