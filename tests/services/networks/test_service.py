"""Networks over the real store and real interfaces, in network namespaces of their own."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sharedrt.drivers.network.bridge import HostBridges
from sharedrt.model.faults import (
    AlreadyExists,
    FailedPrecondition,
    InUse,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from sharedrt.model.ids import DOCKER_NAMESPACE, K8S_NAMESPACE, parse_namespace
from sharedrt.model.records import DnsConfig, PortMapping
from sharedrt.services.events import EventBus, NamespacedEvents
from sharedrt.services.networks import Networks, NetworkSettings, NewNetwork
from sharedrt.store.database import SqliteDatabase
from tests.fakes.name_servers import NameServersMemory
from tests.netlab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab

pytestmark = pytest.mark.real

SETTINGS = NetworkSettings(
    bridge="brdef",
    subnet="10.231.0.0/24",
    pod_bridge="brpods",
    pod_subnets=("10.232.0.0/24",),
    pools=("10.233.0.0/20",),
)
WEB = PortMapping("tcp", 80, 8080)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with await SqliteDatabase.open(tmp_path / "test.db") as opened:
        yield opened


@pytest.fixture
async def networks(database: SqliteDatabase, lab: Lab) -> Networks:
    return await make(database, lab)


async def make(
    database: SqliteDatabase, lab: Lab, namespace: str = DOCKER_NAMESPACE, *live: str
) -> Networks:
    """As after a start of the daemon."""
    store = database.within(parse_namespace(namespace))
    made = Networks(
        store,
        database,
        lab.bridges,
        SETTINGS,
        NamespacedEvents(store, EventBus()),
        NameServersMemory(),
    )
    await made.recover(live)
    return made


async def restarted(lab: Lab) -> None:
    """A new daemon's driver: it remembers nothing."""
    await lab.bridges.aclose()
    lab.bridges = HostBridges(table=lab.table, prefix="tst", netns=lab.netns("host"))


async def test_the_three_defaults(networks: Networks) -> None:
    for _ in range(2):
        await networks.ensure_defaults()
    assert [record.name for record in networks.list()] == ["bridge", "host", "none"]
    bridge = networks.get("bridge")
    assert (bridge.bridge, bridge.subnets, bridge.gateways) == (
        "brdef",
        ("10.231.0.0/24",),
        ("10.231.0.1",),
    )
    assert networks.get(bridge.id[:12]) is bridge
    with pytest.raises(NotFound):
        networks.get("other")


async def test_a_container_joins_and_leaves(networks: Networks, lab: Lab) -> None:
    await networks.ensure_defaults()
    netns = await lab.new_netns("a")
    endpoint = await networks.connect("bridge", owner="c1", netns=netns, ports=[WEB])
    assert endpoint.addresses == ("10.231.0.2/24",)
    assert endpoint.mac == "02:42:0a:e7:00:02"
    assert networks.endpoints_of("c1") == [endpoint]
    assert networks.endpoints_on(endpoint.network_id) == [endpoint]
    lab.serve("a", 80)
    assert lab.ask("outside", HOST, 8080) == f"a {OUTSIDE}"
    with pytest.raises(AlreadyExists):
        await networks.connect("bridge", owner="c1", netns=netns)
    for _ in range(2):
        await networks.release_owner("c1")
        await networks.disconnect(endpoint.id)
    assert networks.endpoints_of("c1") == []
    assert await lab.bridges.endpoints_on_host() == []
    assert "eth0" not in lab.sh("a", "ip", "link")


async def test_ports_that_are_taken_are_refused_and_nothing_is_left(
    networks: Networks, database: SqliteDatabase, lab: Lab
) -> None:
    await networks.ensure_defaults()
    other = await make(database, lab, "team-b")
    await other.ensure_defaults()
    one, two = await lab.new_netns("a"), await lab.new_netns("b")
    lab.serve("host", 9090)
    await networks.connect("bridge", owner="c1", netns=one, ports=[WEB])
    for asker, ports in (
        (networks, [PortMapping("tcp", 81, 8080)]),
        (other, [PortMapping("tcp", 81, 8080, "127.0.0.1")]),
        (networks, [PortMapping("udp", 80, 8080), PortMapping("tcp", 81, 9090)]),
    ):
        with pytest.raises(InUse) as caught:
            await asker.connect("bridge", owner="c2", netns=two, ports=ports)
        assert caught.value.kind == "port"
        taken = ports[-1]
        assert caught.value.name == f"{taken.host_ip or '0.0.0.0'}:{taken.host_port}"
        assert asker.endpoints_of("c2") == []
    assert len(await database.read_global(lambda tx: tx.all_endpoints())) == 1
    assert len(await lab.bridges.endpoints_on_host()) == 1
    # The failures gave their leases back.
    endpoint = await networks.connect("bridge", owner="c2", netns=two, address="10.231.0.3")
    assert endpoint.addresses == ("10.231.0.3/24",)


async def test_open_host_ports_are_chosen(networks: Networks, lab: Lab) -> None:
    await networks.ensure_defaults()
    netns = await lab.new_netns("a")
    lab.serve("host", 32768)
    endpoint = await networks.connect(
        "bridge",
        owner="c1",
        netns=netns,
        ports=[PortMapping("tcp", 80, 0), PortMapping("udp", 53, 0), PortMapping("tcp", 80, 0)],
    )
    first, second = (mapping.host_port for mapping in endpoint.ports)
    assert 32768 < first < 61000
    assert 32768 < second < 61000
    assert first != second
    lab.serve("a", 80)
    assert lab.ask("outside", HOST, first) == f"a {OUTSIDE}"


async def test_a_free_port_of_a_range(networks: Networks, lab: Lab) -> None:
    await networks.ensure_defaults()
    lab.serve("host", 9001)
    ranged = PortMapping("tcp", 80, 9000, "", 9003)
    two = [ranged, replace(ranged, container_port=81)]
    first = await networks.connect("bridge", owner="c1", netns=await lab.new_netns("a"), ports=two)
    assert [(p.host_port, p.host_port_last) for p in first.ports] == [(9000, 0), (9002, 0)]
    netns = await lab.new_netns("b")
    second = await networks.connect("bridge", owner="c2", netns=netns, ports=[ranged])
    assert second.ports[0].host_port == 9003
    lab.serve("b", 80)
    assert lab.ask("outside", HOST, 9003) == f"b {OUTSIDE}"
    with pytest.raises(ResourceExhausted, match="all ports are allocated"):
        await networks.connect("bridge", owner="c3", netns=await lab.new_netns("c"), ports=[ranged])
    with pytest.raises(InvalidArgument):
        await networks.connect(
            "bridge", owner="c3", netns=netns, ports=[PortMapping("tcp", 80, 9000, "", 8000)]
        )


@pytest.mark.parametrize(
    "mapping",
    [
        PortMapping("icmp", 80, 8080),
        PortMapping("tcp", 0, 8080),
        PortMapping("tcp", 80, 70000),
        PortMapping("tcp", 80, 8080, "nowhere"),
        PortMapping("tcp", 80, 8080, "198.51.100.1"),
    ],
)
async def test_bad_mappings_are_refused(networks: Networks, lab: Lab, mapping: PortMapping) -> None:
    await networks.ensure_defaults()
    netns = await lab.new_netns("a")
    with pytest.raises(InvalidArgument):
        await networks.connect("bridge", owner="c1", netns=netns, ports=[mapping])
    assert networks.endpoints_of("c1") == []
    assert await lab.bridges.endpoints_on_host() == []


async def test_many_at_once_get_different_addresses(networks: Networks, lab: Lab) -> None:
    await networks.ensure_defaults()
    names = [f"n{number}" for number in range(20)]
    paths = [await lab.new_netns(name) for name in names]
    endpoints = await asyncio.gather(
        *(
            networks.connect("bridge", owner=name, netns=path, ports=[PortMapping("tcp", 80, 0)])
            for name, path in zip(names, paths, strict=True)
        )
    )
    assert len({endpoint.addresses for endpoint in endpoints}) == 20
    assert len({endpoint.ports[0].host_port for endpoint in endpoints}) == 20
    await asyncio.gather(*(networks.release_owner(name) for name in names))
    assert await lab.bridges.endpoints_on_host() == []


async def test_a_cancelled_connection_is_released_with_its_owner(
    networks: Networks, lab: Lab
) -> None:
    await networks.ensure_defaults()
    netns = await lab.new_netns("a")
    for pauses in range(8):
        task = asyncio.get_running_loop().create_task(
            networks.connect("bridge", owner="c1", netns=netns, ports=[WEB])
        )
        for _ in range(pauses * pauses):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await networks.release_owner("c1")
        assert networks.endpoints_of("c1") == []
        assert await lab.bridges.endpoints_on_host() == []


async def test_after_a_restart_live_owners_keep_their_places(
    networks: Networks, database: SqliteDatabase, lab: Lab
) -> None:
    await networks.ensure_defaults()
    live, dead = await lab.new_netns("live"), await lab.new_netns("dead")
    kept = await networks.connect("bridge", owner="c1", netns=live, ports=[WEB])
    await networks.connect("bridge", owner="c2", netns=dead, ports=[replace(WEB, host_port=8081)])
    lab.serve("live", 80)
    await restarted(lab)
    again = await make(database, lab, DOCKER_NAMESPACE, "c1")
    assert again.endpoints_of("c1") == [kept]
    assert again.endpoints_of("c2") == []
    assert await lab.bridges.endpoints_on_host() == [kept.id]
    assert lab.ask("outside", HOST, 8080) == f"live {OUTSIDE}"
    assert not await lab.bridges.host_port_free("tcp", "", 8080)
    assert await lab.bridges.host_port_free("tcp", "", 8081)
    # A lease from before is not given away.
    with pytest.raises(InUse):
        await again.connect(
            "bridge", owner="c3", netns=dead, address=kept.addresses[0].split("/")[0]
        )


async def test_recovery_spares_other_namespaces_and_removes_strays(
    networks: Networks, database: SqliteDatabase, lab: Lab, tmp_path: Path
) -> None:
    await networks.ensure_defaults()
    netns, stray = await lab.new_netns("a"), await lab.new_netns("stray")
    endpoint = await networks.connect("bridge", owner="c1", netns=netns, ports=[WEB])
    lost = await networks.connect("bridge", owner="c2", netns=stray)
    other = await networks.create(NewNetwork("other"))
    await restarted(lab)
    # As if the rows had been written by a database that was restored from a backup since.
    with sqlite3.connect(tmp_path / "test.db") as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("DELETE FROM endpoints WHERE id = ?", (lost.id,))
        connection.execute("DELETE FROM networks WHERE id = ?", (other.id,))
    connection.close()
    k8s = await make(database, lab, K8S_NAMESPACE)
    assert k8s.list() == []
    assert await lab.bridges.endpoints_on_host() == [endpoint.id]
    assert await lab.bridges.bridges_on_host() == ["brdef"]
    assert other.bridge not in lab.sh("host", "ip", "link")
    assert not await lab.bridges.mend()


async def test_after_a_reboot_nothing_is_there_and_nothing_fails(
    networks: Networks, database: SqliteDatabase, lab: Lab
) -> None:
    await networks.ensure_defaults()
    netns = await lab.new_netns("a")
    await networks.connect("bridge", owner="c1", netns=netns, ports=[WEB])
    await lab.namespaces.remove(netns.parent)
    await lab.bridges.flush()
    await restarted(lab)
    again = await make(database, lab, DOCKER_NAMESPACE, "c1")
    assert again.endpoints_of("c1") == []
    assert "brdef" in lab.sh("host", "ip", "link")


async def test_tenants_are_kept_apart(
    networks: Networks, database: SqliteDatabase, lab: Lab
) -> None:
    tenant = await make(database, lab, "team-b")
    await asyncio.gather(networks.ensure_defaults(), tenant.ensure_defaults())
    one, two = networks.get("bridge"), tenant.get("bridge")
    assert one.bridge != two.bridge
    assert two.subnets == ("10.233.0.0/22",)
    with pytest.raises(NotFound):
        tenant.get(one.id)
    await networks.connect("bridge", owner="c", netns=await lab.new_netns("a"))
    theirs = await tenant.connect("bridge", owner="c", netns=await lab.new_netns("b"))
    lab.serve("b", 80)
    assert lab.ask("a", theirs.addresses[0].split("/")[0], 80, wait_s=1) == "no answer"
    await networks.release_owner("c")
    assert tenant.endpoints_of("c") == [theirs]


async def test_a_bridge_without_nat_is_open_to_its_own_namespace(
    networks: Networks, database: SqliteDatabase, lab: Lab
) -> None:
    tenant = await make(database, lab, "team-b")
    await asyncio.gather(networks.ensure_defaults(), tenant.ensure_defaults())
    mode = "com.docker.network.bridge.gateway_mode_ipv4"
    await networks.create(NewNetwork("own", options={mode: "routed"}))
    await networks.create(NewNetwork("later"))
    ports = (PortMapping("tcp", 80, 8080),)
    own = await networks.connect("own", owner="c1", netns=await lab.new_netns("a"), ports=ports)
    address = own.addresses[0].partition("/")[0]
    lab.serve("a", 80)
    lab.serve("a", 81)
    for name, network, service in (("b", "bridge", networks), ("c", "later", networks)):
        await service.connect(network, owner=name, netns=await lab.new_netns(name))
        assert lab.ask(name, address, 80).startswith("a ")
        assert lab.ask(name, address, 81, wait_s=1) == "no answer"
    await tenant.connect("bridge", owner="d", netns=await lab.new_netns("d"))
    assert lab.ask("d", address, 80, wait_s=1) == "no answer"
    # A tenant's bridge does not come near by the name of one that is gone.
    bridge = "com.docker.network.bridge.name"
    await networks.create(NewNetwork("named", options={bridge: "brnear"}))
    await networks.remove("named")
    await tenant.create(NewNetwork("named", options={bridge: "brnear"}))
    await tenant.connect("named", owner="e", netns=await lab.new_netns("e"))
    assert lab.ask("e", address, 80, wait_s=1) == "no answer"
    # Its port is nobody's on the host.
    await networks.connect("bridge", owner="f", netns=await lab.new_netns("f"), ports=ports)
    await networks.release_owner("c1")
    assert address not in lab.sh("host", "nft", "list ruleset")


async def test_user_defined_networks(networks: Networks, lab: Lab) -> None:
    await networks.ensure_defaults()
    mine = await networks.create(NewNetwork("mine", labels={"a": "b"}))
    assert mine.subnets == ("10.233.0.0/22",)
    assert mine.bridge == f"br-{mine.id[:12]}"
    six = await networks.create(
        NewNetwork(
            "six",
            subnets=("fd00:5::/64", "10.240.0.0/24"),
            gateways=("fd00:5::9", ""),
            options={"com.docker.network.bridge.name": "br-six"},
        )
    )
    assert six.subnets == ("10.240.0.0/24", "fd00:5::/64")
    assert six.gateways == ("10.240.0.1", "fd00:5::9")
    netns = await lab.new_netns("a")
    first = await networks.connect("mine", owner="c1", netns=netns)
    second = await networks.connect(
        "six", owner="c1", netns=netns, mac="02:00:00:00:00:09", address6="fd00:5::77"
    )
    assert (first.interface, second.interface) == ("eth0", "eth1")
    assert (second.mac, second.addresses[1]) == ("02:00:00:00:00:09", "fd00:5::77/64")
    assert "via 10.233.0.1 dev eth0" in lab.sh("a", "ip", "route")
    with pytest.raises(InUse) as caught:
        await networks.remove("mine")
    assert caught.value.users == ("c1",)
    await networks.disconnect(first.id)
    assert "via 10.240.0.1 dev eth1" in lab.sh("a", "ip", "route")
    await networks.remove("mine")
    assert mine.bridge not in lab.sh("host", "ip", "link")
    with pytest.raises(NotFound):
        networks.get("mine")
    for name in ("bridge", "host", "none"):
        with pytest.raises(FailedPrecondition):
            await networks.remove(name)


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (NewNetwork("bridge"), AlreadyExists),
        (NewNetwork(""), InvalidArgument),
        (NewNetwork(" a"), InvalidArgument),
        (NewNetwork("a/b"), InvalidArgument),
        (NewNetwork("a\nb"), InvalidArgument),
        (NewNetwork("x", driver="overlay"), Unimplemented),
        (NewNetwork("x", options={"com.example.magic": "1"}), Unimplemented),
        (
            NewNetwork("x", options={"com.docker.network.bridge.enable_icc": "maybe"}),
            InvalidArgument,
        ),
        (NewNetwork("x", subnets=("10.231.0.128/25",)), InUse),
        (NewNetwork("x", subnets=("10.9.0.1/24",)), InvalidArgument),
        (NewNetwork("x", subnets=("10.9.0.0/24", "10.8.0.0/24")), InvalidArgument),
        (NewNetwork("x", subnets=("10.9.0.0/24",), gateways=("10.8.0.1",)), InvalidArgument),
    ],
)
async def test_bad_networks_are_refused(
    networks: Networks, lab: Lab, request_: NewNetwork, fault: type[Exception]
) -> None:
    await networks.ensure_defaults()
    before = lab.sh("host", "ip", "-o", "link")
    with pytest.raises(fault):
        await networks.create(request_)
    assert len(networks.list()) == 3
    assert lab.sh("host", "ip", "-o", "link") == before
    assert (await networks.create(NewNetwork("x"))).name == "x"


async def test_a_bridge_that_cannot_be_made_leaves_no_network(networks: Networks, lab: Lab) -> None:
    options = {"com.docker.network.bridge.name": "wire"}
    with pytest.raises(FailedPrecondition):
        await networks.create(NewNetwork("x", options=options))
    assert networks.list() == []


async def test_pools_run_out(networks: Networks) -> None:
    for number in range(4):
        await networks.create(NewNetwork(f"n{number}"))
    with pytest.raises(ResourceExhausted):
        await networks.create(NewNetwork("n4"))


async def test_a_default_subnet_that_the_host_uses_is_not_taken(
    networks: Networks, lab: Lab
) -> None:
    lab.sh("host", "ip", "route", "add", "10.231.0.0/25", "via", OUTSIDE)
    lab.sh("host", "ip", "route", "add", "10.233.0.0/24", "via", OUTSIDE)
    await networks.ensure_defaults()
    assert networks.get("bridge").subnets == ("10.233.4.0/22",)


async def test_resolv_conf(networks: Networks) -> None:
    text = networks.resolv_conf(DnsConfig(("10.0.0.1",), ("x.example",)), host_network=False)
    assert text == "nameserver 10.0.0.1\nsearch x.example\n"
    assert "nameserver" in networks.resolv_conf(DnsConfig(), host_network=False)


async def test_macvlan_networks(networks: Networks, database: SqliteDatabase, lab: Lab) -> None:
    request = NewNetwork(
        "wired",
        driver="macvlan",
        subnets=("203.0.113.0/24",),
        gateways=(OUTSIDE,),
        options={"parent": "wire"},
    )
    wired = await networks.create(request)
    closed = await networks.create(NewNetwork("closed", driver="macvlan"))
    await networks.create(NewNetwork("nat"))
    netns = await lab.new_netns("a")
    place = await networks.connect(
        "wired", owner="c1", netns=netns, address="203.0.113.9", ports=[WEB]
    )
    assert place.default_route
    assert place.ports == (), "nothing is published of what is on the wire itself"
    lab.serve("a", 80)
    assert lab.ask("outside", "203.0.113.9", 80) == f"a {OUTSIDE}"
    assert networks.resolver_of("c1") == "127.0.0.11"
    # On a bridge besides, ports are published there, and names asked at its gateway.
    bridged = await networks.connect("nat", owner="c1", netns=netns, ports=[WEB])
    assert not bridged.default_route
    assert lab.ask("host", "127.0.0.1", 8080).startswith("a ")
    await networks.disconnect(bridged.id)
    lonely = await networks.connect("closed", owner="c2", netns=await lab.new_netns("b"))
    assert not lonely.default_route
    await restarted(lab)
    again = await make(database, lab, DOCKER_NAMESPACE, "c1")
    assert lab.ask("outside", "203.0.113.9", 80) == f"a {OUTSIDE}"
    assert [e.owner for e in again.endpoints_on(closed.id)] == []
    await again.release_owner("c1")
    assert "eth0" not in lab.sh("a", "ip", "link")
    for record in (wired, closed):
        await again.remove(record.id)
    assert "dm-" not in lab.sh("host", "ip", "link")
    assert "wire" in lab.sh("host", "ip", "link")


async def test_a_parent_link_is_shared_only_where_that_works(
    networks: Networks, database: SqliteDatabase, lab: Lab
) -> None:
    def on_wire(name: str, subnet: str, mode: str = "bridge") -> NewNetwork:
        options = {"parent": "wire", "macvlan_mode": mode}
        return NewNetwork(name, driver="macvlan", subnets=(subnet,), options=options)

    await networks.create(on_wire("one", "10.60.1.0/24"))
    await networks.create(on_wire("two", "10.60.2.0/24"))
    with pytest.raises(FailedPrecondition, match=r"(one|two) is already using parent interface"):
        await networks.create(on_wire("three", "10.60.3.0/24", "passthru"))
    other = await make(database, lab, "team-b")
    with pytest.raises(FailedPrecondition, match="another network is already"):
        await other.create(on_wire("four", "10.60.4.0/24", "passthru"))
    assert [record.name for record in networks.list()] == ["one", "two"]
    # A link that nobody's row names any more goes at the next start.
    await networks.create(NewNetwork("closed", driver="macvlan"))
    await database.within(parse_namespace(DOCKER_NAMESPACE)).write(
        lambda tx: tx.networks.delete(networks.get("closed").id)
    )
    await restarted(lab)
    await make(database, lab)
    assert await lab.bridges.parents_on_host() == []


async def test_a_network_without_ipv4(networks: Networks, lab: Lab) -> None:
    network = await networks.create(NewNetwork("six", ipv4=False, ipv6=True))
    assert [":" in subnet for subnet in network.subnets] == [True]
    endpoint = await networks.connect(
        "six", owner="c1", netns=await lab.new_netns("a"), ports=[WEB]
    )
    assert [":" in address for address in endpoint.addresses] == [True]
    lab.serve("a", 80, address="::")
    assert lab.ask("outside", HOST6, 8080) == f"a {OUTSIDE6}"
    assert networks.resolver_of("c1") == "127.0.0.11"
    with pytest.raises(InvalidArgument):
        await networks.create(NewNetwork("none", ipv4=False))


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("macvlan", {"macvlan_mode": "nosuch"}),
        ("ipvlan", {"ipvlan_mode": "l4"}),
        ("ipvlan", {"ipvlan_flag": "x"}),
        ("macvlan", {"parent": "lo"}),
        ("macvlan", {"parent": "a name that is too long"}),
    ],
)
async def test_bad_options_of_stacked_networks(
    networks: Networks, driver: str, options: dict[str, str]
) -> None:
    with pytest.raises(InvalidArgument):
        await networks.create(NewNetwork("odd", driver=driver, options=options))
    with pytest.raises(Unimplemented):
        await networks.create(NewNetwork("odd", driver=driver, options={"nosuch": "1"}))


async def test_an_open_port_is_not_one_that_was_named(networks: Networks, lab: Lab) -> None:
    """The same container port on a named port of one address, and on any port of all."""
    await networks.ensure_defaults()
    named, opened = PortMapping("tcp", 80, 8081, HOST), PortMapping("tcp", 80, 0)
    twins = [replace(opened, host_ip=HOST), replace(opened, host_ip="127.0.0.1")]
    endpoint = await networks.connect(
        "bridge", owner="c1", netns=await lab.new_netns("a"), ports=[named, opened]
    )
    first, second = endpoint.ports
    assert first.host_port == 8081
    assert second.host_port >= 32768
    other = await networks.connect(
        "bridge", owner="c2", netns=await lab.new_netns("b"), ports=twins
    )
    one, two = other.ports
    assert one.host_port == two.host_port, "one number for both addresses"


async def test_a_bridge_that_is_no_gateway(networks: Networks, lab: Lab) -> None:
    mode = "com.docker.network.bridge.gateway_mode_ipv"
    options = {f"{mode}4": "isolated", f"{mode}6": "isolated"}
    request = NewNetwork("pair", internal=True, ipv6=True, options=options)
    network = await networks.create(request)
    assert network.gateways == ("", "")
    assert "inet" not in lab.sh("host", "ip", "address", "show", "dev", network.bridge)
    first = await networks.connect("pair", owner="c1", netns=await lab.new_netns("a"))
    await networks.connect("pair", owner="c2", netns=await lab.new_netns("b"))
    lab.serve("a", 80)
    assert lab.ask("b", first.addresses[0].partition("/")[0], 80).startswith("a ")
    assert networks.resolver_of("c1") == "127.0.0.11"
    with pytest.raises(InvalidArgument, match="internal"):
        await networks.create(NewNetwork("open", options=options))
    with pytest.raises(InvalidArgument, match="nosuch"):
        await networks.create(NewNetwork("open", options={f"{mode}4": "nosuch"}))


async def test_names_and_settings_of_interfaces(networks: Networks, lab: Lab) -> None:
    await networks.create(NewNetwork("one"))
    await networks.create(NewNetwork("two"))
    netns = await lab.new_netns("a")
    settings = ("net.ipv4.conf.IFNAME.log_martians=1",)
    endpoint = await networks.connect(
        "one", owner="c1", netns=netns, interface="wan.0", sysctls=settings
    )
    assert endpoint.interface == "wan.0"
    assert lab.sh("a", "cat", "/proc/sys/net/ipv4/conf/wan.0/log_martians") == "1\n"
    with pytest.raises(InvalidArgument, match="already"):
        await networks.connect("two", owner="c1", netns=netns, interface="wan.0")
    with pytest.raises(InvalidArgument):
        await networks.connect("two", owner="c1", netns=netns, sysctls=("net.ipv4.nosuch=1",))
    assert [e.interface for e in networks.endpoints_of("c1")] == ["wan.0"]
    other = await networks.connect("two", owner="c1", netns=netns)
    assert other.interface == "eth0"
