"""The whole daemon on a host of its own (a network namespace), with another machine on the wire."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.netlab import HOST, HOST6, OUTSIDE, Lab, laboratory
from tests.real import waiting
from tests.real.clients import DockerClient
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
    """A server that says its name to whoever connects; it listens."""
    await daemon.docker(
        *("run", "-d", "--name", name, *arguments, "busybox", "sh", "-c", f"{SAY} {name}")
    )
    listens = "until grep -q ' 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.02; done"
    await daemon.docker("exec", name, "sh", "-c", listens)


async def inside(daemon: DaemonUnderTest, name: str, address: str, port: int) -> str:
    script = f"nc -w 2 {address} {port} </dev/null"
    done = await daemon.docker("exec", name, "sh", "-c", script, check=False)
    return done.stdout.strip()


async def until(probe: Callable[[], bool], timeout_s: float = 30.0) -> None:
    await waiting.until(lambda: asyncio.to_thread(probe), timeout_s)


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
        assert lab.ask("outside", address, port, wait_s=1) in ("refused", "no answer")
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


async def test_ipv6_alone(daemon: DaemonUnderTest, docker: DockerClient, lab: Lab) -> None:
    six = {"Name": "six", "EnableIPv4": False, "EnableIPv6": True}
    assert (await docker.post("/networks/create", json=six))[0] == 201
    await run(daemon, "web", "--network", "six", "-p", "8080:80")
    _, shown = await docker.get("/networks/six")
    assert (shown["EnableIPv4"], shown["EnableIPv6"]) == (False, True)
    for where, address in (("outside", HOST6), ("outside", HOST), ("host", "::1")):
        await until(lambda w=where, a=address: lab.ask(w, a, 8080).startswith("web"))  # type: ignore[misc]
    looked = await daemon.docker(
        "run", "--rm", "--network", "six", "busybox", "nslookup", "-type=aaaa", "web"
    )
    assert "Address: fd" in looked.stdout


def serve_datagrams(lab: Lab, pid: str, port: int) -> None:
    """A UDP server in a container's network namespace; busybox has none."""
    program = (
        f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', {port}))\n"
        "print('ready', flush=True)\n"
        "while True:\n data, peer = s.recvfrom(99); s.sendto(b'web ' + data, peer)\n"
    )
    process = subprocess.Popen(
        ("nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-S", "-E", "-c", program),
        stdout=subprocess.PIPE,
        text=True,
    )
    lab.processes.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


async def test_datagrams_and_sctp(daemon: DaemonUnderTest, lab: Lab) -> None:
    await run(
        *(daemon, "web", "-p", "7000:53/udp", "-p", "127.0.0.1:7001:53/udp", "-p", "7003:99/sctp"),
    )
    pid = (await daemon.docker("inspect", "-f", "{{.State.Pid}}", "web")).stdout.strip()
    serve_datagrams(lab, pid, 53)
    try:
        for where, address, port in (
            ("outside", HOST, 7000),
            ("outside", HOST6, 7000),
            ("host", HOST, 7000),
            ("host", "127.0.0.1", 7000),
            ("host", "::1", 7000),
            ("host", "127.0.0.1", 7001),
        ):
            assert lab.ask(where, address, port, "udp").startswith("web"), (where, address, port)
        assert not lab.ask("outside", HOST, 7001, "udp", wait_s=1).startswith("web")
    finally:
        lab.end_servers()
    # This kernel may have no SCTP sockets to ask with: the rule says where such packets go.
    assert "99/sctp -> 0.0.0.0:7003" in (await daemon.docker("port", "web")).stdout
    place = await daemon.docker(
        "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web"
    )
    rules = lab.sh("host", "nft", "-n", "list", "map", "inet", f"srt{daemon.number}", "any4")
    (element,) = (part for part in " ".join(rules.split()).split(",") if ". 7003 " in part)
    assert "132 . 7003" in element
    assert f": {place.stdout.strip()} . 99" in element
    words = await daemon.docker("run", "-p", "7000:1/udp", "busybox", "true", check=False)
    assert "Bind for 0.0.0.0:7000 failed: port is already allocated" in words.stderr
    await daemon.docker("run", "--rm", "-p", "7000:1/tcp", "busybox", "true")


async def test_what_a_bridge_can_be_told(daemon: DaemonUnderTest, lab: Lab) -> None:
    n = daemon.number
    bridge = "com.docker.network.bridge"
    await daemon.docker(
        *("network", "create", "--attachable", "--label", "tier=one"),
        *("-o", f"{bridge}.enable_icc=false", "-o", f"{bridge}.enable_ip_masquerade=false"),
        *("-o", f"{bridge}.host_binding_ipv4=127.0.0.1", "-o", f"{bridge}.name=srt{n}o", "odd"),
    )
    shown = json.loads((await daemon.docker("network", "inspect", "odd")).stdout)[0]
    assert (shown["Attachable"], shown["Labels"]) == (True, {"tier": "one"})
    assert shown["Options"][f"{bridge}.enable_icc"] == "false"
    listed = await daemon.docker("network", "ls", "-q", "--no-trunc", "-f", "label=tier=one")
    assert listed.stdout.split() == [shown["Id"]]
    assert f"srt{n}o" in lab.sh("host", "ip", "link")
    await run(daemon, "web", "--network", "odd", "-p", "8080:80")
    await run(daemon, "near", "--network", "odd")
    # Published where the network says, and reached there; its neighbour does not reach it.
    assert (await daemon.docker("port", "web")).stdout == "80/tcp -> 127.0.0.1:8080\n"
    await until(lambda: lab.ask("host", "127.0.0.1", 8080).startswith("web"))
    assert lab.ask("outside", HOST, 8080, wait_s=1) in ("refused", "no answer")
    assert await inside(daemon, "near", "web", 80) == ""
    # Without masquerading its own address is seen outside, which has no way back to it.
    lab.serve("outside", 90)
    try:
        assert await inside(daemon, "web", OUTSIDE, 90) == ""
        subnet = shown["IPAM"]["Config"][0]["Subnet"]
        lab.sh("outside", "ip", "route", "add", subnet, "via", HOST)
        address = await daemon.docker(
            "inspect", "-f", "{{.NetworkSettings.Networks.odd.IPAddress}}", "web"
        )
        said = await inside(daemon, "web", OUTSIDE, 90)
        assert said == f"outside {address.stdout.strip()}"
        lab.sh("outside", "ip", "route", "del", subnet)
        await daemon.docker("network", "create", "--internal", "closed")
        await run(daemon, "shut", "--network", "closed")
        assert await inside(daemon, "shut", OUTSIDE, 90) == ""
        await run(daemon, "usual")
        assert await inside(daemon, "usual", OUTSIDE, 90) == f"outside {HOST}"
    finally:
        lab.end_servers()


async def test_a_bridge_without_nat(
    daemon: DaemonUnderTest, docker: DockerClient, lab: Lab
) -> None:
    """Published ports, and nothing else, are reached at the containers' own addresses."""
    n = daemon.number
    mode = "com.docker.network.bridge.gateway_mode_ipv"
    subnet, subnet6 = f"10.215.{n}.0/24", f"fd00:215:{n}::/64"
    await daemon.docker(
        *("network", "create", "--ipv6", "--subnet", subnet, "--subnet", subnet6),
        *("-o", f"{mode}4=routed", "-o", f"{mode}6=routed", "own"),
    )
    await run(daemon, "web", "--network", "own", "-p", "8080:80")
    await daemon.docker("exec", "-d", "web", "nc", "-ll", "-p", "81", "-e", "echo", "shut")
    await run(daemon, "far")
    await daemon.docker("network", "create", "later")
    await run(daemon, "late", "--network", "later")
    web, web6 = f"10.215.{n}.2", f"fd00:215:{n}::2"
    shown = (await daemon.docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", "web")).stdout
    assert json.loads(shown) == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}, {"HostIp": "::", "HostPort": ""}]
    }
    assert lab.ask("outside", HOST, 8080) == "refused", "no port of the host's is taken"
    await run(daemon, "other", "-p", "8080:80")
    lab.sh("outside", "ip", "route", "add", subnet, "via", HOST)
    lab.sh("outside", "ip", "-6", "route", "add", subnet6, "via", HOST6)
    await until(lambda: lab.ask("outside", web, 80).startswith("web"))
    await until(lambda: lab.ask("outside", web6, 80).startswith("web"))
    assert lab.ask("outside", HOST, 8080).startswith("other")
    assert lab.ask("host", web, 81).startswith("shut")
    assert lab.ask("outside", web, 81, wait_s=1) == "no answer"
    assert lab.ask("outside", web6, 81, wait_s=1) == "no answer"
    ping = ("busybox", "ping", "-c1", "-W2", web)
    assert "1 packets received" in await asyncio.to_thread(lab.sh, "outside", *ping)
    # So also from the other bridges of the namespace, and there is no way from here to theirs.
    far = await daemon.docker(
        "inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "far"
    )
    for name in ("far", "late"):
        assert await inside(daemon, name, web, 80) == "web"
        assert await inside(daemon, name, web, 81) == ""
    assert await inside(daemon, "web", far.stdout.strip(), 80) == ""
    lab.serve("outside", 90)
    assert await inside(daemon, "web", OUTSIDE, 90) == f"outside {web}"
    lab.end_servers()
    await daemon.kill9()
    await daemon.start()
    assert lab.ask("outside", web, 80).startswith("web")
    assert await inside(daemon, "late", web, 80) == "web"
    # With its gateway on a network that has NAT, the port is the host's, as it was asked for.
    await daemon.docker("rm", "-f", "other")
    first = {"Container": "web", "EndpointConfig": {"GwPriority": 9}}
    assert await docker.post("/networks/later/connect", json=first) == (200, "")
    await until(lambda: lab.ask("outside", HOST, 8080).startswith("web"))
    assert lab.ask("outside", web, 80, wait_s=1) == "no answer"
    await daemon.docker("network", "disconnect", "later", "web")
    await until(lambda: lab.ask("outside", web, 80).startswith("web"))
    await clear(daemon)
    table = lab.sh("host", "nft", "list", "table", "inet", f"srt{n}")
    assert web not in table
    assert web6 not in table
    lab.sh("outside", "ip", "route", "del", subnet)
    lab.sh("outside", "ip", "-6", "route", "del", subnet6)


async def test_interfaces_that_a_bridge_trusts(daemon: DaemonUnderTest, lab: Lab) -> None:
    n = daemon.number
    option = "com.docker.network.bridge.trusted_host_interfaces"
    subnets = {"trusting": f"10.216.{n}.0/25", "usual": f"10.216.{n}.128/25"}
    for name, subnet in subnets.items():
        trust = ("-o", f"{option}=nosuch0:wire") if name == "trusting" else ()
        await daemon.docker("network", "create", "--subnet", subnet, *trust, name)
        lab.sh("outside", "ip", "route", "add", subnet, "via", HOST)
        await run(daemon, name, "--network", name, "-p", "80")
    await daemon.docker("exec", "-d", "trusting", "nc", "-ll", "-p", "81", "-e", "echo", "shut")
    await until(lambda: lab.ask("outside", f"10.216.{n}.2", 80).startswith("trusting"))
    assert lab.ask("outside", f"10.216.{n}.2", 81, wait_s=1) == "no answer"
    assert lab.ask("outside", f"10.216.{n}.130", 80, wait_s=1) == "no answer"
    assert await inside(daemon, "usual", f"10.216.{n}.2", 80) == ""
    _, _, port = (await daemon.docker("port", "trusting", "80")).stdout.partition("0.0.0.0:")
    assert lab.ask("outside", HOST, int(port.split()[0])).startswith("trusting")
    for subnet in subnets.values():
        lab.sh("outside", "ip", "route", "del", subnet)
    words = await daemon.docker("network", "create", "-o", f"{option}=a/b", "odd", check=False)
    assert "trusted_host_interfaces" in words.stderr


async def test_the_rules_of_others_are_as_they_were(
    daemon: DaemonUnderTest, lab: Lab, tmp_path: Path
) -> None:
    """Of the kind that kube-proxy, CNI's plugins and an administrator make."""
    rules = """*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination 203.0.113.2:6443
COMMIT
"""
    (tmp_path / "rules").write_text(rules)
    lab.sh("host", "iptables-restore", str(tmp_path / "rules"))
    own = "table inet admin { chain in { type filter hook input priority 5; tcp dport 1 drop; }; }"
    lab.sh("host", "nft", own)

    def others() -> list[str]:
        tables = [lab.sh("host", "iptables", "-t", table, "-S") for table in ("filter", "nat")]
        return [lab.sh("host", "nft", "list", "table", "inet", "admin"), *tables]

    before = others()
    await daemon.docker("network", "create", "one")
    await run(daemon, "web", "--network", "one", "-p", "8080:80")
    await daemon.kill9()
    await daemon.start()
    await until(lambda: lab.ask("outside", HOST, 8080).startswith("web"))
    assert others() == before
    await clear(daemon)
    assert others() == before
    lab.sh("host", "nft", "delete table inet admin")
    for table in ("filter", "nat"):
        lab.sh("host", "nft", f"delete table ip {table}")


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa", "passthru"])
async def test_modes_of_macvlan(daemon: DaemonUnderTest, lab: Lab, mode: str) -> None:
    await daemon.docker(
        *("network", "create", "-d", "macvlan", "-o", "parent=wire", "-o", f"macvlan_mode={mode}"),
        *("--subnet", "203.0.113.0/24", "--ip-range", "203.0.113.96/28", "wired"),
    )
    await run(daemon, "web", "--network", "wired")
    kind = await daemon.run(
        *("nsenter", f"--net=/proc/{await pid_of(daemon, 'web')}/ns/net"),
        *("ip", "-d", "link", "show", "eth0"),
    )
    assert f"macvlan mode {mode}" in kind.stdout
    await until(lambda: lab.ask("outside", "203.0.113.96", 80).startswith("web"))
    if mode == "passthru":
        words = await daemon.docker(
            "run", "--rm", "--network", "wired", "busybox", "true", check=False
        )
        assert words.returncode == 125, "the wire is one container's alone"
        return
    await run(daemon, "peer", "--network", "wired")
    seen = "web" if mode == "bridge" else ""
    assert await inside(daemon, "peer", "203.0.113.96", 80) == seen


async def test_ipvlan_where_the_kernel_has_it(daemon: DaemonUnderTest) -> None:
    made = await daemon.docker(
        *("network", "create", "-d", "ipvlan", "-o", "parent=wire"),
        *("--subnet", "203.0.113.0/24", "--ip-range", "203.0.113.96/28", "wired"),
        check=False,
    )
    if made.returncode:
        assert "ipvlan" in made.stderr
        assert "the host's kernel has no such links" in made.stderr
        assert "wired" not in (await daemon.docker("network", "ls")).stdout
        return
    await run(daemon, "web", "--network", "wired")
    await run(daemon, "peer", "--network", "wired")
    assert await inside(daemon, "peer", "203.0.113.96", 80) == "web"


async def pid_of(daemon: DaemonUnderTest, name: str) -> str:
    return (await daemon.docker("inspect", "-f", "{{.State.Pid}}", name)).stdout.strip()
