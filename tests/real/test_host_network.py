"""The whole daemon on a host of its own (a network namespace), with another machine on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.netlab import HOST, HOST6, OUTSIDE, Lab, laboratory
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

SAY = "exec nc -ll -p 80 -e echo"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with laboratory() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(busybox_archive: Path, lab: Lab) -> AsyncIterator[DaemonUnderTest]:
    daemon = DaemonUnderTest(netns=lab.netns("host"))
    try:
        await daemon.start()
        await daemon.cli("-n", "moby", "images", "import", str(busybox_archive))
        yield daemon
    finally:
        await daemon.purge()
    links = lab.sh("host", "ip", "link")
    assert "srt" not in links
    assert f"s{daemon.number}" not in links
    assert f"srt{daemon.number}" not in lab.sh("host", "nft", "list tables")


async def run(daemon: DaemonUnderTest, name: str, *arguments: str) -> None:
    """A server that says its name to whoever connects."""
    await daemon.docker(
        *("run", "-d", "--name", name, *arguments, "busybox", "sh", "-c", f"{SAY} {name}")
    )


async def inside(daemon: DaemonUnderTest, name: str, address: str, port: int) -> str:
    script = f"nc -w 2 {address} {port} </dev/null"
    done = await daemon.docker("exec", name, "sh", "-c", script, check=False)
    return done.stdout.strip()


async def until(probe: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await asyncio.to_thread(probe):  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _cleared(daemon: DaemonUnderTest) -> AsyncIterator[None]:
    yield
    await clear(daemon)


async def clear(daemon: DaemonUnderTest) -> None:
    ids = (await daemon.docker("ps", "-aq")).stdout.split()
    if ids:
        await daemon.docker("rm", "-f", *ids)
    await daemon.docker("network", "prune", "-f")


async def test_published_ports_from_everywhere(daemon: DaemonUnderTest, lab: Lab) -> None:
    await daemon.docker("network", "create", "one")
    await daemon.docker("network", "create", "two")
    await run(
        *(daemon, "web", "--network", "one", "-p", "8080:80", "-p", f"{HOST}:8081:80"),
        *("-p", "127.0.0.1:8082:80", "-p", "[::1]:8083:80", "-p", "80", "-p", "8090-8092:80"),
    )
    await run(daemon, "far", "--network", "two")
    _, _, chosen = (await daemon.docker("port", "web", "80")).stdout.partition("0.0.0.0:")
    shown = (await daemon.docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", "web")).stdout
    bindings = {(b["HostIp"], int(b["HostPort"])) for b in json.loads(shown)["80/tcp"]}
    assert {("0.0.0.0", 8080), ("::", 8080), (HOST, 8081), ("::1", 8083)} <= bindings
    ranged = next(port for ip, port in bindings if ip == "0.0.0.0" and 8090 <= port <= 8092)
    random = next(port for ip, port in bindings if ip == "0.0.0.0" and port >= 32768)
    assert chosen
    for where, address, port in (
        ("outside", HOST, 8080),
        ("outside", HOST6, 8080),
        ("outside", HOST, 8081),
        ("outside", HOST, ranged),
        ("outside", HOST, random),
        ("host", HOST, 8080),
        ("host", "127.0.0.1", 8080),
        ("host", "::1", 8080),
        ("host", "127.0.0.1", 8082),
        ("host", "::1", 8083),
    ):
        await until(lambda w=where, a=address, p=port: lab.ask(w, a, p).startswith("web"))  # type: ignore[misc]
    for address, port in ((HOST, 8082), (HOST6, 8083), (HOST6, 8081)):
        assert lab.ask("outside", address, port) in ("refused", "no answer")
    # Hairpinned: from itself, from a neighbour, from another network.
    await run(daemon, "near", "--network", "one")
    for name in ("web", "near", "far"):
        assert await inside(daemon, name, HOST, 8080) == "web", name
    await clear(daemon)
    assert lab.ask("outside", HOST, 8080) == "refused"
    assert lab.ask("host", "::1", 8080) == "refused"


async def test_a_port_that_another_program_holds(daemon: DaemonUnderTest, lab: Lab) -> None:
    lab.serve("host", 9090)
    try:
        refused = await daemon.docker(
            "run", "--name", "web", "-p", "9090:80", "busybox", "true", check=False
        )
        assert refused.returncode == 125
        assert "failed to bind host port for 0.0.0.0:9090: address already in use" in refused.stderr
    finally:
        lab.end_servers()
    await daemon.docker("start", "web")
    await daemon.docker("rm", "-f", "web")
    await run(daemon, "first", "-p", "9090:80")
    refused = await daemon.docker("run", "-p", "9090:80", "busybox", "true", check=False)
    assert "Bind for 0.0.0.0:9090 failed: port is already allocated" in refused.stderr


async def test_a_flushed_ruleset_is_repaired(daemon: DaemonUnderTest, lab: Lab) -> None:
    """A firewall's reload: all rules go, its own come. Ours come back soon, and its own are left alone."""
    await run(daemon, "web", "-p", "8080:80")
    await until(lambda: lab.ask("outside", HOST, 8080).startswith("web"))
    reload = "flush ruleset; table inet firewall { chain in { type filter hook input priority 5; tcp dport 1 drop; }; }"
    lab.sh("host", "nft", reload)
    await until(lambda: lab.ask("outside", HOST, 8080).startswith("web"), 4)
    lab.sh("host", "nft", f"flush chain inet srt{daemon.number} publish")
    await until(lambda: lab.ask("outside", HOST, 8080).startswith("web"), 4)
    assert "tcp dport 1 drop" in lab.sh("host", "nft", "list table inet firewall")
    tables = lab.sh("host", "nft", "list tables").split("\n")
    assert sorted(filter(None, tables)) == [
        "table inet firewall",
        f"table inet srt{daemon.number}",
    ]
    lab.sh("host", "nft", "delete table inet firewall")


async def test_pools_avoid_what_the_host_routes(daemon: DaemonUnderTest, lab: Lab) -> None:
    n = daemon.number
    lab.sh("host", "ip", "route", "add", f"10.199.{n}.0/26", "via", OUTSIDE)
    subnets = []
    for name in ("one", "two"):
        await daemon.docker("network", "create", name)
        shown = await daemon.docker("network", "inspect", name)
        subnets.append(json.loads(shown.stdout)[0]["IPAM"]["Config"][0]["Subnet"])
    assert subnets == [f"10.199.{n}.64/27", f"10.199.{n}.96/27"]
    lab.sh("host", "ip", "route", "del", f"10.199.{n}.0/26")


async def test_macvlan_on_the_wire(daemon: DaemonUnderTest, lab: Lab) -> None:
    await daemon.docker(
        *("network", "create", "-d", "macvlan", "-o", "parent=wire", "--subnet", "203.0.113.0/24"),
        *("--gateway", OUTSIDE, "--ip-range", "203.0.113.64/28", "wired"),
    )
    await run(daemon, "web", "--network", "wired", "--network-alias", "www")
    await run(daemon, "peer", "--network", "wired", "--ip", "203.0.113.99")
    await until(lambda: lab.ask("outside", "203.0.113.64", 80).startswith("web"))
    assert lab.ask("outside", "203.0.113.99", 80).startswith("peer")
    assert await inside(daemon, "peer", "www", 80) == "web"
    assert await inside(daemon, "web", "peer", 80) == "peer"
    routes = await daemon.docker("exec", "web", "ip", "route", "show", "default")
    assert OUTSIDE in routes.stdout
    # Names are answered inside the container's own namespace: again, after a crash of the daemon.
    await daemon.kill9()
    assert lab.ask("outside", "203.0.113.64", 80).startswith("web")
    await daemon.start()
    assert await inside(daemon, "peer", "web", 80) == "web"
    # A second network, of another kind, and back.
    await daemon.docker("network", "create", "nat")
    await daemon.docker("network", "connect", "nat", "peer")
    assert await inside(daemon, "peer", "web", 80) == "web"
    await daemon.docker("network", "disconnect", "nat", "peer")
    assert await inside(daemon, "peer", "web", 80) == "web"
    refused = await daemon.docker("network", "rm", "wired", check=False)
    assert "has active endpoints" in refused.stderr
    await daemon.docker("network", "disconnect", "wired", "web")
    links = await daemon.docker("exec", "web", "ip", "link")
    assert "eth0" not in links.stdout
    await daemon.docker("network", "connect", "wired", "web")
    assert await inside(daemon, "peer", "web", 80) == "web"
    assert "wire" in lab.sh("host", "ip", "link")


async def test_ipv6_alone(daemon: DaemonUnderTest, lab: Lab) -> None:
    await daemon.docker("network", "create", "--ipv4=false", "--ipv6", "six")
    await run(daemon, "web", "--network", "six", "-p", "8080:80")
    shown = await daemon.docker(
        "network", "inspect", "-f", "{{.EnableIPv4}} {{.EnableIPv6}}", "six"
    )
    assert shown.stdout == "false true\n"
    for where, address in (("outside", HOST6), ("outside", HOST), ("host", "::1")):
        await until(lambda w=where, a=address: lab.ask(w, a, 8080).startswith("web"))  # type: ignore[misc]
    looked = await daemon.docker(
        "run", "--rm", "--network", "six", "busybox", "nslookup", "-type=aaaa", "web"
    )
    assert "Address: fd" in looked.stdout
