"""Networks made, used and removed, again and again: nothing of any round may be left.

``python -m tests.soak.networks --rounds 1000`` takes some minutes (root, and the tools of the real tests).
"""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.real.clients import DockerClient, docker_client
from tests.real.conftest import make_busybox
from tests.real.daemon import DaemonUnderTest

CONTAINER_EVERY = 4
"""In each of so many rounds a container joins, asks for names, publishes ports, and ends in one of several ways."""
HELPERS_MAX = 4


@dataclass(frozen=True)
class Traces:
    """What networks have on the host."""

    links: frozenset[str]
    addresses: frozenset[str]
    elements: int
    sockets: int
    """The name servers' and the held ports': sockets of the daemon that are bound."""
    mounts: int
    rows: int


async def traces(daemon: DaemonUnderTest, docker: DockerClient) -> Traces:
    assert daemon.process is not None
    n, pid = daemon.number, daemon.process.pid
    table = await daemon.run("nft", "list", "table", "inet", f"srt{n}")
    sockets = await daemon.run("ss", "-Hantup")
    addresses = await daemon.run("ip", "-o", "address")
    mounts = await daemon.run("cat", "/proc/self/mountinfo")
    _, networks = await docker.get("/networks")
    return Traces(
        frozenset(name for name in os.listdir("/sys/class/net") if _is_ours(name, n)),
        frozenset(line for line in addresses.stdout.splitlines() if f"10.199.{n}." in line),
        table.stdout.count('comment "'),
        sum(f"pid={pid}," in line for line in sockets.stdout.splitlines()),
        mounts.stdout.count(daemon.root.name),
        len(networks),
    )


def _is_ours(name: str, n: int) -> bool:
    return name.startswith((f"srt{n}", f"srp{n}", f"s{n}"))


def resident_kib(daemon: DaemonUnderTest) -> int:
    assert daemon.process is not None
    text = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


async def rounds(daemon: DaemonUnderTest, docker: DockerClient, count: int) -> None:
    """``count`` networks, one after the other, with containers on some."""
    for number in range(count):
        body = {"Name": f"round{number}", "EnableIPv6": number % 3 == 0}
        if number % 5 == 4:
            body["Driver"] = "macvlan"
        status, made = await docker.post("/networks/create", json=body)
        assert status == 201, made
        if number % CONTAINER_EVERY == 0:
            await _container(docker, f"round{number}", number // CONTAINER_EVERY)
        status, said = await docker.delete(f"/networks/round{number}")
        assert status == 204, said


async def _container(docker: DockerClient, network: str, number: int) -> None:
    ports = {"80/tcp": [{"HostPort": ""}], "53/udp": [{"HostPort": ""}]}
    body = {
        "Image": "busybox",
        "Cmd": ["sh", "-c", f"nslookup {network}; nslookup nosuchname; exec sleep 60"],
        "HostConfig": {"NetworkMode": network, "PortBindings": ports},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    }
    status, made = await docker.post("/containers/create", json=body, name=network)
    assert status == 201, made
    id = made["Id"]
    status, said = await docker.post(f"/containers/{id}/start")
    assert status == 204, said
    status, said = await docker.post("/networks/bridge/connect", json={"Container": id})
    assert status == 200, said
    match number % 4:
        case 0:
            await docker.post(f"/containers/{id}/kill")
        case 1:
            await docker.post("/networks/bridge/disconnect", json={"Container": id})
        case 2:
            _, shown = await docker.get(f"/containers/{id}/json")
            os.kill(shown["State"]["Pid"], 9)
            await docker.post(f"/containers/{id}/wait")
        case _:
            pass
    status, said = await docker.delete(f"/containers/{id}", force="1")
    assert status == 204, said


def descriptors(daemon: DaemonUnderTest) -> int:
    """How many files the daemon has open: a few come and go with its helpers."""
    assert daemon.process is not None
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


async def compare(
    daemon: DaemonUnderTest, docker: DockerClient, count: int
) -> tuple[Traces, Traces]:
    """Before and after; what is made on first use is made before. Raises AssertionError when files stay open."""
    await rounds(daemon, docker, CONTAINER_EVERY + 1)
    before, opened = await _settled(daemon, docker), descriptors(daemon)
    await rounds(daemon, docker, count)
    after = await _settled(daemon, docker)
    assert descriptors(daemon) <= opened + HELPERS_MAX
    return before, after


async def _settled(daemon: DaemonUnderTest, docker: DockerClient) -> Traces:
    """What goes on in the background a little longer (streams of clients, forgetting flows) is over."""
    last = await traces(daemon, docker)
    for _ in range(20):
        await asyncio.sleep(0.25)
        found = await traces(daemon, docker)
        if found == last:
            break
        last = found
    return last


async def _main(count: int) -> int:
    daemon = DaemonUnderTest()
    try:
        await daemon.start()
        with tempfile.TemporaryDirectory() as folder:
            archive = make_busybox(Path(folder) / "busybox.tar")
            await daemon.cli("-n", "moby", "images", "import", str(archive))
        async with docker_client(daemon.socket("docker")) as docker:
            start, resident = time.monotonic(), resident_kib(daemon)
            before, after = await compare(daemon, docker, count)
            grown = resident_kib(daemon) - resident
        took = time.monotonic() - start
        print(
            f"{count} rounds in {took:.0f} s, {took / count * 1e3:.0f} ms each; memory {grown:+} KiB"
        )
        print(before, after, sep="\n")
        return 0 if before == after else 1
    finally:
        await daemon.purge()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    raise SystemExit(asyncio.run(_main(parser.parse_args().rounds)))
