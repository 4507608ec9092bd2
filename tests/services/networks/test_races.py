"""Calls about networks that meet each other half way, over the real store and bridges in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sharedrt.aio.tasks import TaskOwner
from sharedrt.model.drivers import BridgeConfig, EndpointConfig
from sharedrt.model.faults import Internal, InUse, NotFound
from sharedrt.model.ids import DOCKER_NAMESPACE, parse_namespace
from sharedrt.services.events import EventBus, NamespacedEvents
from sharedrt.services.networks import Networks, NewNetwork
from sharedrt.store.database import SqliteDatabase
from tests.fakes.name_servers import NameServersMemory
from tests.services.networks.test_service import SETTINGS, WEB
from tests.services.world import Epoch, FakeBridges, World


@dataclass
class Gate:
    """A step of the driver that waits until the test lets it go on."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_(self) -> None:
        self.reached.set()
        await self.open.wait()


class Bridges(FakeBridges):
    """What is on the host, by name; steps can be made to wait, or to fail."""

    def __init__(self) -> None:
        super().__init__(Epoch(World()))
        self.configs: dict[str, BridgeConfig] = {}
        self.plugged: dict[str, EndpointConfig] = {}
        self.looking: Gate | None = None
        self.removing: Gate | None = None
        self.plugging: Gate | None = None
        self.refused = ""
        """An interface that cannot be its container's way out."""

    async def ensure_bridge(self, config: BridgeConfig) -> None:
        await asyncio.sleep(0)
        self.configs[config.name] = config

    async def remove_bridge(self, name: str) -> None:
        if self.removing is not None:
            await self.removing.pass_()
        self.configs.pop(name, None)

    async def host_subnets(self) -> Sequence[str]:
        if self.looking is not None:
            await self.looking.pass_()
        return []

    async def connect(self, config: EndpointConfig) -> None:
        if self.plugging is not None:
            await self.plugging.pass_()
        if config.interface == self.refused and config.gateways:
            raise Internal("network", "Network is unreachable")
        self.plugged[config.id] = config

    async def disconnect(self, config: EndpointConfig) -> None:
        await asyncio.sleep(0)
        self.plugged.pop(config.id, None)

    async def point_names(self, netns: Path, server: str, ports: object = None) -> None:
        await asyncio.sleep(0)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    async with await SqliteDatabase.open(tmp_path / "test.db") as opened:
        yield opened


@pytest.fixture
def bridges() -> Bridges:
    return Bridges()


@pytest.fixture
async def tasks() -> AsyncIterator[TaskOwner]:
    owner = TaskOwner("test")
    yield owner
    await owner.aclose()


def networks(database: SqliteDatabase, bridges: Bridges, name: str = DOCKER_NAMESPACE) -> Networks:
    store = database.within(parse_namespace(name))
    events = NamespacedEvents(store, EventBus())
    return Networks(store, database, bridges, SETTINGS, events, NameServersMemory())  # type: ignore[arg-type]


# ------------------------------------------------------------ what two networks cannot both have


def on(bridge: str, **fields: object) -> NewNetwork:
    return NewNetwork("grab", options={"com.docker.network.bridge.name": bridge}, **fields)  # type: ignore[arg-type]


async def test_a_bridge_is_one_networks_alone(database: SqliteDatabase, bridges: Bridges) -> None:
    """Its addresses and its group would become the other's."""
    mine, theirs = networks(database, bridges), networks(database, bridges, "tenant")
    first = await mine.create(replace(on("br-shop"), name="shop"))
    before = dict(bridges.configs)
    for asker, users in ((theirs, ()), (mine, (first.id,))):
        with pytest.raises(InUse) as caught:
            await asker.create(on("br-shop"))
        assert (caught.value.kind, caught.value.users) == ("bridge", users)
        assert caught.value.reason == "networks have same bridge name"
    assert bridges.configs == before
    left = await database.read_global(lambda tx: tx.all_networks())
    assert [record.id for _, record in left] == [first.id]
    assert (await theirs.create(on("br-other"))).name == "grab"  # the name is free again


@pytest.mark.parametrize("bridge", ["brdef", "brpods", "srt-0123456789a"])
async def test_bridges_that_we_make_ourselves_cannot_be_taken_before(
    database: SqliteDatabase, bridges: Bridges, bridge: str
) -> None:
    """A tenant could keep pods, or another tenant, from having a network."""
    with pytest.raises(InUse) as caught:
        await networks(database, bridges, "tenant").create(on(bridge))
    assert caught.value.kind == "bridge"
    assert bridges.configs == {}


async def test_a_bridge_asked_for_twice_at_once_is_one_networks_alone(
    database: SqliteDatabase, bridges: Bridges, tasks: TaskOwner
) -> None:
    mine, theirs = networks(database, bridges), networks(database, bridges, "tenant")
    bridges.looking = Gate()
    slow = tasks.start(mine.create(on("br-shop")), "slow")
    await bridges.looking.reached.wait()
    quick = await theirs.create(on("br-shop", subnets=("10.9.0.0/24",)))
    bridges.looking.open.set()
    with pytest.raises(InUse) as caught:
        await slow
    assert (caught.value.kind, caught.value.users) == ("bridge", ())
    assert mine.list() == []
    left = await database.read_global(lambda tx: tx.all_networks())
    assert [record.id for _, record in left] == [quick.id]


async def test_a_subnet_stays_the_one_networks_that_was_made_first(
    database: SqliteDatabase, bridges: Bridges, tasks: TaskOwner
) -> None:
    """However long before the other one was asked for."""
    mine, theirs = networks(database, bridges), networks(database, bridges, "tenant")
    bridges.looking = Gate()
    slow = tasks.start(mine.create(NewNetwork("slow")), "slow")
    await bridges.looking.reached.wait()
    quick = await theirs.create(NewNetwork("quick", subnets=("10.233.0.0/22",)))
    bridges.looking.open.set()
    made = await slow
    assert quick.subnets == ("10.233.0.0/22",)
    assert made.subnets == ("10.233.4.0/22",)


async def test_a_refused_subnet_does_not_tell_of_another_namespaces_network(
    database: SqliteDatabase, bridges: Bridges
) -> None:
    mine, theirs = networks(database, bridges), networks(database, bridges, "tenant")
    record = await theirs.create(NewNetwork("secret", subnets=("10.9.8.0/24",)))
    with pytest.raises(InUse) as caught:
        await mine.create(NewNetwork("big", subnets=("10.9.0.0/16",)))
    assert record.id not in str(caught.value)
    assert "10.9.8.0" not in str(caught.value)
    assert caught.value.users == ()
    with pytest.raises(InUse) as caught:
        await theirs.create(NewNetwork("big", subnets=("10.9.0.0/16",)))
    assert caught.value.users == (record.id,)


# ------------------------------------------------------------ removal and connection


async def test_a_network_that_is_being_removed_takes_nobody_in(
    database: SqliteDatabase, bridges: Bridges, tasks: TaskOwner, tmp_path: Path
) -> None:
    mine = networks(database, bridges)
    record = await mine.create(NewNetwork("shop"))
    bridges.removing = Gate()
    going = tasks.start(mine.remove("shop"), "slow")
    await bridges.removing.reached.wait()
    with pytest.raises(NotFound) as caught:
        await mine.connect("shop", owner="c1", netns=tmp_path)
    assert caught.value.kind == "network"
    bridges.removing.open.set()
    await going
    assert mine.list() == []
    assert bridges.configs == {}
    assert await database.read_global(lambda tx: tx.all_endpoints()) == []
    assert record.id not in bridges.plugged


async def test_a_network_that_somebody_is_joining_stays(
    database: SqliteDatabase, bridges: Bridges, tasks: TaskOwner, tmp_path: Path
) -> None:
    mine = networks(database, bridges)
    record = await mine.create(NewNetwork("shop"))
    joining = tasks.start(mine.connect("shop", owner="c1", netns=tmp_path), "slow")
    for _ in range(3):  # its row is not there yet
        await asyncio.sleep(0)
    assert mine.endpoints_on(record.id) == []
    with pytest.raises(InUse) as caught:
        await mine.remove("shop")
    assert caught.value.users == ("c1",)
    endpoint = await joining
    assert bridges.configs.keys() == {record.bridge}
    assert bridges.plugged.keys() == {endpoint.id}
    await mine.release_owner("c1")
    await mine.remove("shop")
    assert bridges.configs == {}


async def test_a_network_whose_removal_failed_takes_containers_in_again(
    database: SqliteDatabase, bridges: Bridges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = networks(database, bridges)
    await mine.create(NewNetwork("shop"))

    async def busy(name: str) -> None:
        raise Internal("network", "Device or resource busy")

    with monkeypatch.context() as patched:
        patched.setattr(bridges, "remove_bridge", busy)
        with pytest.raises(Internal):
            await mine.remove("shop")
    assert (await mine.connect("shop", owner="c1", netns=tmp_path)).owner == "c1"


# ------------------------------------------------------------ the way out


async def test_a_failed_connection_leaves_the_way_out_and_the_ports_where_they_were(
    database: SqliteDatabase, bridges: Bridges, tmp_path: Path
) -> None:
    mine = networks(database, bridges)
    await mine.create(NewNetwork("one"))
    await mine.create(NewNetwork("two"))
    first = await mine.connect("one", owner="c1", netns=tmp_path, ports=[WEB])
    plugged = bridges.plugged[first.id]
    assert first.default_route
    assert first.ports == (WEB,)
    bridges.refused = "eth1"
    with pytest.raises(Internal):
        await mine.connect("two", owner="c1", netns=tmp_path, priority=9)
    assert mine.endpoints_of("c1") == [first]
    assert bridges.plugged == {first.id: plugged}
    stored = await database.read_global(lambda tx: tx.all_endpoints())
    assert [record for _, record in stored] == [first]
