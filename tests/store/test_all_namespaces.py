import pytest

from sharedrt.model.faults import AlreadyExists, InUse, NotFound
from sharedrt.model.ids import Namespace
from sharedrt.model.records import NamespaceRecord, VolumeRecord
from sharedrt.model.stores import Database, NamespacedStore

from . import samples
from .conftest import K8S, MOBY

TEAM = Namespace("team")


async def names(database: Database) -> list[str]:
    return [n.name for n in await database.read_global(lambda tx: tx.namespaces())]


async def test_two_are_there_from_the_start(database: Database) -> None:
    assert await names(database) == [K8S, MOBY]


async def test_a_namespace_with_all_its_fields(database: Database) -> None:
    record = NamespaceRecord(TEAM, {"a": "b"}, {"privileged": False}, {"memory": 5}, 7)
    await database.write_global(lambda tx: tx.add_namespace(record))
    assert record in await database.read_global(lambda tx: tx.namespaces())
    with pytest.raises(AlreadyExists):
        await database.write_global(lambda tx: tx.add_namespace(record))
    changed = await database.write_global(lambda tx: tx.set_namespace_labels(TEAM, {"c": "d"}))
    assert changed == NamespaceRecord(TEAM, {"c": "d"}, {"privileged": False}, {"memory": 5}, 7)
    assert changed in await database.read_global(lambda tx: tx.namespaces())
    with pytest.raises(NotFound):
        await database.write_global(lambda tx: tx.set_namespace_labels(Namespace("other"), {}))


async def test_the_first_write_makes_the_namespace(database: Database) -> None:
    team = database.within(TEAM)
    assert await team.read(lambda tx: tx.containers.list()) == []
    assert TEAM not in await names(database)
    with pytest.raises(NotFound):
        await team.write(lambda tx: tx.execs.add(samples.exec_()))
    assert TEAM not in await names(database)
    await team.write(lambda tx: tx.volumes.add(VolumeRecord("v")))
    assert TEAM in await names(database)


async def test_a_namespace_in_use_stays(database: Database) -> None:
    team = database.within(TEAM)
    await team.write(samples.fill)
    with pytest.raises(InUse) as caught:
        await database.write_global(lambda tx: tx.delete_namespace(TEAM))
    assert set(caught.value.users) == {
        "blob_access",
        "build_caches",
        "build_step_layers",
        "build_steps",
        "container_volumes",
        "containers",
        "endpoint_addresses",
        "endpoints",
        "execs",
        "images",
        "leases",
        "networks",
        "sandboxes",
        "snapshots",
        "volumes",
    }


async def test_an_empty_namespace_goes_with_its_events_and_operations(database: Database) -> None:
    team = database.within(TEAM)
    await team.write(lambda tx: tx.events.append(1, "a", "b", "c", {}))
    await team.write(lambda tx: tx.operations.add(samples.operation()))
    await database.write_global(lambda tx: tx.delete_namespace(TEAM))
    assert TEAM not in await names(database)
    with pytest.raises(NotFound):
        await database.write_global(lambda tx: tx.delete_namespace(TEAM))


async def test_a_deleted_namespace_is_made_anew_by_a_write(database: Database) -> None:
    """The writer remembers which namespaces are there, and has to forget this one."""
    team = database.within(TEAM)
    await team.write(lambda tx: tx.events.append(1, "a", "b", "c", {}))
    await database.write_global(lambda tx: tx.delete_namespace(TEAM))
    event = await team.write(lambda tx: tx.events.append(1, "a", "b", "c", {}))
    assert event.sequence == 1


async def test_listings_over_all(
    database: Database, moby: NamespacedStore, k8s: NamespacedStore
) -> None:
    await moby.write(samples.fill)
    await k8s.write(samples.fill)
    assert set(await database.read_global(lambda tx: tx.layer_directories())) == {"d"}
    operations = await database.read_global(lambda tx: tx.all_operations())
    assert operations == [(MOBY, samples.operation()), (K8S, samples.operation())]
    networks = await database.read_global(lambda tx: tx.all_networks())
    assert networks == [(MOBY, samples.network()), (K8S, samples.network())]
    endpoints = await database.read_global(lambda tx: tx.all_endpoints())
    expected = samples.endpoint(addresses=("10.1.0.2/24",))
    assert endpoints == [(MOBY, expected), (K8S, expected)]
