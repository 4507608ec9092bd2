"""User-defined networks with the real docker CLI: names, several networks, addresses, ports, and nothing left."""

import asyncio
import json
import socket
import time

import pytest

from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.waiting import until
from tests.soak import networks

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

SERVE = "mkdir -p /w; hostname >/w/index.html; exec httpd -f -p 80 -h /w"


async def run(daemon: DaemonUnderTest, name: str, *arguments: str, hostname: str = "") -> None:
    """A web server that answers with its host's name, detached."""
    await daemon.docker(
        *("run", "-d", "--name", name, "--hostname", hostname or name, *arguments),
        *("busybox", "sh", "-c", SERVE),
    )


async def inside(daemon: DaemonUnderTest, name: str, command: str) -> str:
    """Output of a shell command in a running container, whatever its exit code."""
    done = await daemon.docker("exec", name, "sh", "-c", f"{command} 2>&1", check=False)
    return done.stdout.strip()


async def page(daemon: DaemonUnderTest, name: str, host: str) -> str:
    return await inside(daemon, name, f"timeout 5 wget -qO- http://{host}/")


async def field(daemon: DaemonUnderTest, name: str, network: str, key: str) -> str:
    template = f'{{{{(index .NetworkSettings.Networks "{network}").{key}}}}}'
    return (await daemon.docker("inspect", "-f", template, name)).stdout.strip()


async def refused(daemon: DaemonUnderTest, *arguments: str) -> str:
    done = await daemon.docker(*arguments, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr.strip()


async def clear(daemon: DaemonUnderTest) -> None:
    ids = (await daemon.docker("ps", "-aq")).stdout.split()
    if ids:
        await daemon.docker("rm", "-f", *ids)
    await daemon.docker("network", "prune", "-f")


def ask(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as asker:
            asker.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while data := asker.recv(4096):
                answer += data
            return answer.decode().rpartition("\r\n")[2].strip()
    except OSError:
        return "no answer"


async def published(port: int, expected: str) -> None:
    async def there() -> bool:
        return await asyncio.to_thread(ask, port) == expected

    await until(there)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_containers_find_each_other_by_name(daemon: DaemonUnderTest) -> None:
    await daemon.docker("network", "create", "front")
    await daemon.docker("network", "create", "back")
    await run(daemon, "web", "--network", "front", "--network-alias", "www", hostname="webhost")
    await run(daemon, "db", "--network", "front", "--link", "web:site")
    await run(daemon, "far", "--network", "back")
    short = (await daemon.docker("ps", "-q", "-f", "name=web")).stdout.strip()
    for name in ("web", "WEB", "www", short, "web.front", "site"):
        assert await page(daemon, "db", name) == "webhost", name
    address = await field(daemon, "web", "front", "IPAddress")
    assert "name = web.front" in await inside(daemon, "db", f"nslookup {address}")
    assert "ndots:0" in await inside(daemon, "db", "cat /etc/resolv.conf")
    for name in ("web", "site", "nosuchname"):
        assert "bad address" in await page(daemon, "far", name)
    assert "bad address" in await page(daemon, "web", "site"), "a link is one container's alone"
    assert await page(daemon, "far", address) == "", "networks are isolated"
    gateway = await field(daemon, "web", "front", "Gateway")
    assert "timed out" in await inside(daemon, "far", f"timeout 9 nslookup web {gateway}")
    await daemon.docker("rename", "web", "shop")
    assert await page(daemon, "db", "shop") == "webhost"
    assert "bad address" in await page(daemon, "db", "web")
    await daemon.docker("rm", "-f", "shop")
    assert "bad address" in await page(daemon, "db", "www")
    await clear(daemon)


async def test_joining_and_leaving_while_it_runs(daemon: DaemonUnderTest) -> None:
    port = free_port()
    for name in ("one", "two"):
        await daemon.docker("network", "create", name)
    await run(daemon, "web", "--network", "one", "-p", f"127.0.0.1:{port}:80")
    await run(daemon, "peer", "--network", "two")
    await daemon.docker("exec", "web", "sh", "-c", "echo 192.0.2.1 mine >>/etc/hosts")
    await published(port, "web")
    assert "bad address" in await page(daemon, "peer", "web")
    await daemon.docker("network", "connect", "--alias", "extra", "two", "web")
    assert await page(daemon, "peer", "extra") == "web"
    assert await page(daemon, "web", "peer") == "peer"
    first = await field(daemon, "web", "one", "IPAddress")
    second = await field(daemon, "web", "two", "IPAddress")
    hosts = await inside(daemon, "web", "cat /etc/hosts")
    assert first in hosts
    assert second in hosts
    listed = json.loads((await daemon.docker("network", "inspect", "two")).stdout)[0]["Containers"]
    assert {c["Name"] for c in listed.values()} == {"web", "peer"}
    words = await refused(daemon, "network", "connect", "two", "web")
    assert "endpoint with name web already exists in network two" in words
    # The first network gave way and port; leaving it moves both.
    await daemon.docker("network", "disconnect", "one", "web")
    hosts = await inside(daemon, "web", "cat /etc/hosts")
    assert first not in hosts
    assert "192.0.2.1 mine" in hosts, "what the container wrote stays"
    assert "dev eth1" in await inside(daemon, "web", "ip route | grep ^default")
    await published(port, "web")
    assert (await daemon.docker("port", "web")).stdout == f"80/tcp -> 127.0.0.1:{port}\n"
    assert "is not connected to network one" in await refused(
        daemon, "network", "disconnect", "one", "web"
    )
    await daemon.docker("network", "disconnect", "two", "web")
    assert await asyncio.to_thread(ask, port) == "no answer"
    assert "bad address" in await page(daemon, "peer", "web")
    await daemon.docker("network", "connect", "one", "web")
    await published(port, "web")
    events = await daemon.docker(
        *("events", "--since", "10m", "--until", f"{time.time():.9f}"),
        *("-f", "type=network", "-f", "network=two"),
        *("--format", "{{.Action}}"),
    )
    # Created; peer, then web came; web left.
    assert events.stdout.split() == ["create", "connect", "connect", "disconnect"]
    await clear(daemon)


async def test_a_stopped_container_joins_and_leaves(daemon: DaemonUnderTest) -> None:
    for name in ("one", "two"):
        await daemon.docker("network", "create", name)
    await run(daemon, "peer", "--network", "two")
    await daemon.docker(
        *("create", "--name", "web", "--network", "one", "busybox", "sh", "-c", SERVE)
    )
    await daemon.docker("network", "connect", "--alias", "www", "two", "web")
    await daemon.docker("network", "disconnect", "one", "web")
    await daemon.docker("start", "web")
    assert await page(daemon, "peer", "www") != ""
    settings = await daemon.docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", "web")
    assert set(json.loads(settings.stdout)) == {"two"}
    await daemon.docker("restart", "-t", "0", "web")
    assert "bad address" not in await page(daemon, "peer", "www")
    await clear(daemon)


async def test_addresses_that_are_asked_for(daemon: DaemonUnderTest) -> None:
    n = daemon.number
    await daemon.docker(
        *("network", "create", "--subnet", f"10.210.{n}.0/24", "--ip-range", f"10.210.{n}.64/28"),
        *("--gateway", f"10.210.{n}.9", "--aux-address", f"printer=10.210.{n}.64"),
        *("--ipv6", "--subnet", f"fd00:{n}::/64", "-o", "com.docker.network.driver.mtu=1400"),
        *("--label", "a=b", "fixed"),
    )
    config = json.loads((await daemon.docker("network", "inspect", "fixed")).stdout)[0]
    assert config["IPAM"]["Config"] == [
        {
            "Subnet": f"10.210.{n}.0/24",
            "IPRange": f"10.210.{n}.64/28",
            "Gateway": f"10.210.{n}.9",
            "AuxiliaryAddresses": {"printer": f"10.210.{n}.64"},
        },
        {"Subnet": f"fd00:{n}::/64", "Gateway": f"fd00:{n}::1"},
    ]
    await run(daemon, "chosen", "--network", "fixed")
    assert await field(daemon, "chosen", "fixed", "IPAddress") == f"10.210.{n}.65"
    await run(
        *(daemon, "asked", "--network", "fixed", "--ip", f"10.210.{n}.200"),
        *("--ip6", f"fd00:{n}::77", "--mac-address", "02:11:22:33:44:55"),
    )
    shown = await inside(daemon, "asked", "ip addr show eth0")
    for part in (f"10.210.{n}.200/24", f"fd00:{n}::77/64", "02:11:22:33:44:55", "mtu 1400"):
        assert part in shown
    assert await page(daemon, "chosen", "asked") == "asked"
    assert f"fd00:{n}::77" in await inside(daemon, "chosen", "nslookup -type=aaaa asked")
    assert await page(daemon, "chosen", f"[fd00:{n}::77]") == "asked"
    for address, words in (
        (f"10.210.{n}.200", "Address already in use"),
        (f"10.210.{n}.64", "Address already in use"),
        ("10.1.1.1", "not in subnet"),
    ):
        await daemon.docker("network", "disconnect", "fixed", "chosen", check=False)
        said = await refused(daemon, "network", "connect", "--ip", address, "fixed", "chosen")
        assert words in said
    subnet = f"10.210.{n}.128/25"
    assert "Pool overlaps" in await refused(daemon, "network", "create", "--subnet", subnet, "x")
    await clear(daemon)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-d", "macvlan", "-o", "nosuch=1"), "nosuch"),
        (("-d", "macvlan", "-o", "parent=nosuch"), "was not found on the host"),
        (("-d", "macvlan", "-o", "parent=lo"), "loopback interface is not a valid macvlan parent"),
        (("-d", "host"), 'only one instance of "host" network is allowed'),
        (("-d", "weave"), "weave"),
        (("-o", "com.docker.network.bridge.nosuch=eth0"), "nosuch"),
        (("-o", "com.docker.network.bridge.gateway_mode_ipv4=nosuch"), "gateway_mode_ipv4"),
        (("--ipam-opt", "com.docker.network.ipam.serial=true"), "com.docker.network.ipam.serial"),
        (("--ipam-driver", "dhcp"), "dhcp"),
        (("--ingress",), "Ingress"),
        (("--config-only", "--internal"), "can only contain network specific fields"),
        (("--config-from", "nosuch"), 'configuration network "nosuch" does not exist'),
        (("--subnet", "10.0.0.1/8"), "it should be 10.0.0.0/8"),
        (("--subnet", "10.211.0.0/24", "--gateway", "10.9.0.1"), "10.9.0.1"),
    ],
)
async def test_what_is_not_done_is_refused_by_name(
    daemon: DaemonUnderTest, arguments: tuple[str, ...], words: str
) -> None:
    assert words in await refused(daemon, "network", "create", *arguments, "odd")
    assert "odd" not in (await daemon.docker("network", "ls")).stdout


async def test_a_configuration_that_networks_are_made_from(daemon: DaemonUnderTest) -> None:
    n = daemon.number
    await daemon.docker(
        *("network", "create", "--config-only", "--subnet", f"10.213.{n}.0/24"),
        *("--gateway", f"10.213.{n}.9", "--label", "tier=one", "--ipam-opt", "org.example.a=b"),
        *("-o", "com.docker.network.driver.mtu=1400", "base"),
    )
    shown = json.loads((await daemon.docker("network", "inspect", "base")).stdout)[0]
    assert (shown["ConfigOnly"], shown["Driver"], shown["Scope"]) == (True, "null", "local")
    words = await refused(daemon, "run", "--rm", "--network", "base", "busybox", "true")
    assert "cannot create endpoint on configuration-only network" in words
    made_from = ("network", "create", "--config-from", "base")
    assert "are not supported" in await refused(daemon, *made_from, "--label", "a=b", "odd")
    assert "driver options" in await refused(daemon, *made_from, "-o", "a=b", "odd")
    # Its subnet is nobody's until a network is made from it.
    await daemon.docker(*made_from, "--internal", "made")
    made = json.loads((await daemon.docker("network", "inspect", "made")).stdout)[0]
    assert made["ConfigFrom"] == {"Network": "base"}
    assert (made["Driver"], made["Internal"], made["Labels"]) == ("bridge", True, {"tier": "one"})
    assert made["IPAM"] == shown["IPAM"]
    assert made["IPAM"]["Options"] == {"org.example.a": "b"}
    assert made["Options"] == {"com.docker.network.driver.mtu": "1400"}
    await run(daemon, "web", "--network", "made")
    inside_it = await inside(daemon, "web", "ip addr show eth0")
    assert f"10.213.{n}.1/24" in inside_it
    assert "mtu 1400" in inside_it
    assert "Pool overlaps" in await refused(daemon, *made_from, "second")
    assert 'configuration network "base" is in use' in await refused(
        daemon, "network", "rm", "base"
    )
    await daemon.restart()
    again = json.loads((await daemon.docker("network", "inspect", "base")).stdout)[0]
    assert again == shown
    await clear(daemon)
    names = (await daemon.docker("network", "ls", "--format", "{{.Name}}")).stdout.split()
    assert "made" not in names
    assert "base" in names, "a prune leaves configurations alone"
    await daemon.docker("network", "rm", "base")


async def test_link_local_addresses(daemon: DaemonUnderTest) -> None:
    await daemon.docker("network", "create", "one")
    await run(
        *(daemon, "web", "--network", "one"),
        *("--link-local-ip", "169.254.8.8", "--link-local-ip", "fe80::77"),
    )
    await run(daemon, "peer")
    await daemon.docker("network", "connect", "--link-local-ip", "169.254.9.9", "one", "peer")
    shown = await inside(daemon, "web", "ip addr show eth0")
    assert "169.254.8.8/16" in shown
    assert "fe80::77/64" in shown
    assert await page(daemon, "peer", "169.254.8.8") == "web"
    for name, addresses in (("web", ["169.254.8.8", "fe80::77"]), ("peer", ["169.254.9.9"])):
        asked = await daemon.docker(
            "inspect", "-f", "{{json .NetworkSettings.Networks.one.IPAMConfig}}", name
        )
        assert json.loads(asked.stdout) == {"LinkLocalIPs": addresses}
    await daemon.restart()
    assert await page(daemon, "web", "169.254.9.9") == "peer"
    await daemon.docker("restart", "-t", "0", "peer")
    assert "169.254.9.9/16" in await inside(daemon, "peer", "ip addr show eth1")
    # A whole subnet of such addresses.
    await daemon.docker("network", "create", "--ipv6", "--subnet", "fe80:1299::/64", "local")
    await run(daemon, "near", "--network", "local")
    await daemon.docker("network", "connect", "local", "peer")
    assert await page(daemon, "peer", "near") == "near"
    assert "fe80:1299::2" in await inside(daemon, "peer", "nslookup -type=aaaa near")
    words = await refused(
        daemon, "run", "--rm", "--network", "one", "--link-local-ip", "::", "busybox", "true"
    )
    assert "invalid link-local IP address: ::" in words
    await clear(daemon)


async def test_networks_are_free_when_an_end_is_heard_of(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    """By the end of an attached output, by the event, or by a wait: whoever acts on it finds no endpoint."""
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "one"}}
    url = f"http://docker/{docker.version}"
    for _ in range(5):
        for way in ("attach", "events", "wait"):
            await daemon.docker("network", "create", "one")
            _, made = await docker.post("/containers/create", json=body)
            id = made["Id"]
            filters = json.dumps({"container": [id], "event": ["die"]})
            request = {
                "attach": ("POST", f"/containers/{id}/attach", {"stream": "1", "stdout": "1"}),
                "events": ("GET", "/events", {"filters": filters}),
                "wait": ("POST", f"/containers/{id}/wait", {"condition": "next-exit"}),
            }[way]
            method, path, query = request
            async with docker.session.request(method, url + path, params=query) as told:
                assert (await docker.post(f"/containers/{id}/start"))[0] == 204
                await (told.content.readline() if way == "events" else told.read())
            status, words = await docker.delete("/networks/one")
            assert status == 204, (way, words)
            await docker.delete(f"/containers/{id}")


async def test_a_start_that_fails_for_its_network(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    port = free_port()
    await run(daemon, "first", "-p", f"{port}:80")
    words = await refused(
        *(daemon, "run", "-d", "--name", "second", "--restart", "always", "-p", f"{port}:80"),
        *("busybox", "sleep", "99"),
    )
    assert "failed to set up container networking" in words
    assert "port is already allocated" in words
    _, shown = await docker.get("/containers/second/json")
    state = shown["State"]
    assert (state["Status"], state["FinishedAt"]) == ("created", "0001-01-01T00:00:00Z")
    assert "port is already allocated" in state["Error"]
    await daemon.docker("rm", "-f", "first")
    await daemon.docker("start", "second")
    await clear(daemon)


async def test_two_containers_alone_on_a_pair_of_addresses(daemon: DaemonUnderTest) -> None:
    """A macvlan without a parent leads nowhere: no address is a gateway's."""
    n = daemon.number
    await daemon.docker("network", "create", "-d", "macvlan", "--subnet", f"10.214.{n}.0/31", "p2p")
    await run(daemon, "web", "--network", "p2p")
    await run(daemon, "peer", "--network", "p2p")
    assert await page(daemon, "peer", "web") == "web"
    assert await inside(daemon, "web", "ip route | grep ^default") == ""
    assert await field(daemon, "web", "p2p", "Gateway") == ""
    await clear(daemon)


async def test_a_network_without_any_addresses_is_refused(docker: DockerClient) -> None:
    status, answer = await docker.post(
        "/networks/create", json={"Name": "odd", "EnableIPv4": False}
    )
    assert (status, "IPv4 or IPv6 must be enabled" in answer["message"]) == (400, True), answer
    assert (await docker.get("/networks/odd"))[0] == 404


async def test_the_gateway_is_the_network_of_the_highest_priority(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    port = free_port()
    for name in ("low", "high"):
        await daemon.docker("network", "create", name)
    await daemon.docker("network", "create", "--internal", "closed")
    await run(daemon, "web", "--network", "closed", "-p", f"127.0.0.1:{port}:80")
    assert await inside(daemon, "web", "ip route | grep ^default") == ""
    await daemon.docker("network", "connect", "low", "web")
    low = (await inside(daemon, "web", "ip route | grep ^default")).split()[2]
    await published(port, "web")
    first = {"Container": "web", "EndpointConfig": {"GwPriority": 5}}
    assert await docker.post("/networks/high/connect", json=first) == (200, "")
    high = (await inside(daemon, "web", "ip route | grep ^default")).split()[2]
    assert low != high
    assert high == await field(daemon, "web", "high", "Gateway")
    await published(port, "web")
    await daemon.docker("network", "disconnect", "high", "web")
    assert low in await inside(daemon, "web", "ip route | grep ^default")
    await published(port, "web")
    await clear(daemon)


async def test_a_name_with_a_blank_and_options_of_another_vendor(daemon: DaemonUnderTest) -> None:
    await daemon.docker("network", "create", "two words")
    for name in ("a/b", "line\nbreak", " blank"):
        assert "invalid network name" in (await refused(daemon, "network", "create", name)).lower()
    option = "driver-opt=org.example"
    network = f"name=two words,{option}.note=kept,{option}.empty="
    await daemon.docker("create", "--name", "noted", "--network", network, "busybox")
    shown = await daemon.docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", "noted")
    endpoint = json.loads(shown.stdout)["two words"]
    assert endpoint["DriverOpts"] == {"org.example.note": "kept", "org.example.empty": ""}
    ours = "name=two words,driver-opt=com.docker.network.nosuch=1"
    assert "nosuch" in await refused(daemon, "create", "--network", ours, "busybox")
    await daemon.docker("rm", "noted")
    await daemon.docker("network", "rm", "two words")


async def test_removal_and_prune(daemon: DaemonUnderTest) -> None:
    await daemon.docker("network", "create", "--label", "keep=no", "used")
    await daemon.docker("network", "create", "--label", "keep=no", "unused")
    await run(daemon, "web", "--network", "used")
    words = await refused(daemon, "network", "rm", "used")
    assert 'network used has active endpoints (name:"web"' in words
    assert "pre-defined network" in await refused(daemon, "network", "rm", "bridge")
    listed = await daemon.docker("network", "ls", "-f", "dangling=true", "-q", "--no-trunc")
    assert len(listed.stdout.split()) == 1
    for kept in ("label!=keep=no", "until=10m", "label=keep=yes"):
        pruned = await daemon.docker("network", "prune", "-f", "--filter", kept)
        assert "unused" not in pruned.stdout, kept
    pruned = await daemon.docker("network", "prune", "-f", "--filter", "label=keep=no")
    assert pruned.stdout.split()[-1] == "unused"
    await daemon.docker("rm", "-f", "web")
    await daemon.docker("network", "rm", "used")
    for mode in ("host", "none"):
        await daemon.docker(
            "run", "-d", "--name", mode, "--network", mode, "busybox", "sleep", "99"
        )
    await daemon.docker("network", "create", "one")
    assert "cannot be connected" in await refused(daemon, "network", "connect", "one", "host")
    assert "private (none) mode" in await refused(daemon, "network", "connect", "one", "none")
    await clear(daemon)


async def test_a_shared_namespace_has_the_owners_files(daemon: DaemonUnderTest) -> None:
    await daemon.docker("network", "create", "one")
    await run(daemon, "web", "--network", "one")
    await run(daemon, "peer", "--network", "one")
    joined = await daemon.docker(
        *("run", "--rm", "--network", "container:web", "busybox", "sh", "-c"),
        "cat /etc/hosts; wget -qO- http://peer/; wget -qO- http://127.0.0.1/",
    )
    assert await field(daemon, "web", "one", "IPAddress") in joined.stdout
    assert joined.stdout.split()[-2:] == ["peer", "web"]
    await clear(daemon)


async def test_a_restarted_daemon_answers_again(daemon: DaemonUnderTest) -> None:
    port = free_port()
    await daemon.docker("network", "create", "one")
    await run(daemon, "web", "--network", "one", "--network-alias", "www", "-p", f"{port}:80")
    await run(daemon, "peer", "--network", "one")
    await daemon.restart()
    assert await page(daemon, "peer", "www") == "web"
    await published(port, "web")
    await daemon.kill9()
    await published(port, "web")
    await daemon.start()
    assert await page(daemon, "peer", "web") == "web"
    # It ends while nobody looks: its port and its name go with it.
    pid = (await daemon.docker("inspect", "-f", "{{.State.Pid}}", "web")).stdout.strip()
    await daemon.kill9()
    await daemon.run("kill", "-9", pid)
    await daemon.start()

    async def gone() -> bool:
        return "bad address" in await page(daemon, "peer", "web")

    await until(gone)
    assert await asyncio.to_thread(ask, port) == "no answer"
    await run(daemon, "again", "--network", "one", "-p", f"{port}:80")
    await published(port, "again")
    await clear(daemon)


@pytest.mark.parametrize("end", ["exit", "stop", "kill", "rm", "conmon", "failed start"])
async def test_ports_are_free_however_it_ends(daemon: DaemonUnderTest, end: str) -> None:
    port = free_port()
    ports = ("-p", f"127.0.0.1:{port}:80", "-p", f"127.0.0.1:{port}:80/udp")
    match end:
        case "exit":
            await daemon.docker("run", "--name", "first", *ports, "busybox", "true")
        case "failed start":
            words = await refused(daemon, "run", "--name", "first", *ports, "busybox", "/no/such")
            assert "no such file" in words
        case _:
            await run(daemon, "first", *ports)
            await published(port, "first")
    match end:
        case "stop":
            await daemon.docker("stop", "-t", "0", "first")
        case "kill":
            await daemon.docker("kill", "first")
        case "rm":
            await daemon.docker("rm", "-f", "first")
        case "conmon":
            pid = (await daemon.docker("inspect", "-f", "{{.State.Pid}}", "first")).stdout.strip()
            parent = await daemon.run("ps", "-o", "ppid=", "-p", pid)
            await daemon.run("kill", "-9", parent.stdout.strip())
            await daemon.run("kill", "-9", pid, check=False)
            await daemon.docker("wait", "first")
    await run(daemon, "second", *ports)
    await published(port, "second")
    await clear(daemon)


async def test_a_bridge_that_is_no_gateway(daemon: DaemonUnderTest) -> None:
    """Only containers have addresses there: of two, both."""
    mode = "com.docker.network.bridge.gateway_mode_ipv"
    n = daemon.number
    await daemon.docker(
        *(
            "network",
            "create",
            "--internal",
            "--subnet",
            f"10.212.{n}.0/31",
            "-o",
            f"{mode}4=isolated",
        ),
        *("-o", f"com.docker.network.bridge.name=srt{n}i", "pair"),
    )
    addresses = await daemon.run("ip", "-4", "address", "show", "dev", f"srt{n}i")
    assert "inet" not in addresses.stdout
    await run(daemon, "web", "--network", "pair")
    await run(daemon, "peer", "--network", "pair")
    assert await field(daemon, "web", "pair", "IPAddress") == f"10.212.{n}.0"
    assert await page(daemon, "peer", "web") == "web"
    await daemon.restart()
    assert await page(daemon, "web", "peer") == "peer"
    full = await refused(daemon, "run", "--rm", "--network", "pair", "busybox", "true")
    assert "in use" in full or "exhausted" in full
    words = await refused(daemon, "network", "create", "-o", f"{mode}4=isolated", "open")
    assert "can only be used for an internal network" in words
    await clear(daemon)


async def test_interfaces_and_their_settings(daemon: DaemonUnderTest) -> None:
    await daemon.docker("network", "create", "one")
    option = "driver-opt=com.docker.network.endpoint"
    network = f"name=one,{option}.ifname=wan0,{option}.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
    await run(daemon, "web", "--network", network)
    shown = await inside(
        daemon, "web", "ip -o link show wan0; cat /proc/sys/net/ipv4/conf/wan0/log_martians"
    )
    assert ": wan0@if" in shown
    assert shown.endswith("\n1")
    asked = await daemon.docker(
        "inspect", "-f", "{{json .NetworkSettings.Networks.one.DriverOpts}}", "web"
    )
    assert json.loads(asked.stdout)["com.docker.network.endpoint.ifname"] == "wan0"
    for bad in (f"{option}.ifname=a/b", f"{option}.sysctls=kernel.panic=1", f"{option}.nosuch=1"):
        await refused(daemon, "run", "--rm", "--network", f"name=one,{bad}", "busybox", "true")
    await clear(daemon)


async def test_rounds_leave_nothing(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    """``python -m tests.soak.networks`` goes a thousand."""
    before, after = await networks.compare(daemon, docker, 30)
    assert before == after
