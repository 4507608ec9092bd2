"""Tables of records, and the faults that a refused constraint becomes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sharedrt.model.faults import AlreadyExists, DataLoss, Fault, InUse, InvalidArgument, NotFound
from sharedrt.model.ids import ContainerId, NetworkId, SandboxId, SnapshotKey
from sharedrt.model.records import ContainerState, VolumeRecord
from sharedrt.model.stores import NamespacedStore, Transaction
from sharedrt.store import SqliteDatabase

from . import samples

KINDS: dict[str, tuple[str, Any, Any]] = {
    "containers": ("id", samples.container("new", "name"), {"state": ContainerState.RUNNING}),
    "sandboxes": ("id", samples.sandbox("new", "other"), {"addresses": ("10.0.0.1",)}),
    "images": ("reference", samples.image("new:latest"), {"pinned": True}),
    "snapshots": ("key", samples.snapshot("new", "k1"), {"size_bytes": 2**62}),
    "leases": ("id", samples.lease("new"), {"expires_ns": 9}),
    "volumes": ("name", VolumeRecord("new"), {"labels": {"x": "y"}}),
    "networks": ("id", samples.network("new", "other"), {"subnets": ()}),
    "endpoints": ("id", samples.endpoint("new"), {"addresses": ("10.1.0.9/24",)}),
    "execs": ("id", samples.exec_("new"), {"exit_code": 0}),
    "operations": ("id", samples.operation("new"), {"detail": [None, {"a": 1.5}]}),
}
"""Each of the transaction's tables: its key's field, a record to add, and fields to change then."""


async def refusal(store: NamespacedStore, use_case: Callable[[Transaction], Any]) -> Fault:
    with pytest.raises(Fault) as caught:
        await store.write(use_case)
    return caught.value


@pytest.mark.parametrize("name", KINDS)
async def test_life_of_a_record(moby: NamespacedStore, name: str) -> None:
    key_field, record, changes = KINDS[name]
    key = getattr(record, key_field)

    def table(tx: Transaction) -> Any:
        return getattr(tx, name)

    await moby.write(samples.fill)
    before = await moby.read(lambda tx: table(tx).list())
    assert before
    assert await moby.read(lambda tx: table(tx).get(key)) is None
    assert await moby.write(lambda tx: table(tx).add(record)) == record
    assert await moby.read(lambda tx: table(tx).get(key)) == record
    changed = replace(record, **changes)
    assert await moby.write(lambda tx: table(tx).put(changed)) == changed
    assert await moby.read(lambda tx: table(tx).list()) == [*before, changed]
    assert await moby.write(lambda tx: table(tx).delete(key)) is True
    assert await moby.write(lambda tx: table(tx).delete(key)) is False
    assert await moby.read(lambda tx: table(tx).list()) == before
    assert await moby.write(lambda tx: table(tx).put(changed)) == changed
    assert await moby.read(lambda tx: table(tx).get(key)) == changed


@pytest.mark.parametrize("name", KINDS)
async def test_a_taken_key_is_already_exists(moby: NamespacedStore, name: str) -> None:
    key_field, record, _ = KINDS[name]
    await moby.write(samples.fill)
    await moby.write(lambda tx: getattr(tx, name).add(record))
    fault = await refusal(moby, lambda tx: getattr(tx, name).add(record))
    assert isinstance(fault, AlreadyExists)
    assert fault.kind == {"sandboxes": "sandbox"}.get(name, name.removesuffix("s"))
    assert fault.holder in (getattr(record, key_field), "c1")  # an endpoint's holder is its owner


async def test_oldest_come_first(moby: NamespacedStore) -> None:
    ages = [("b", 5), ("a", 3), ("z", 5), ("c", 4)]

    def use_case(tx: Transaction) -> None:
        for id_, created_ns in ages:
            tx.containers.add(samples.container(id_, created_ns=created_ns))
        tx.containers.put(samples.container("b", created_ns=5, reason="changed"))

    await moby.write(use_case)
    assert [c.id for c in await moby.read(lambda tx: tx.containers.list())] == ["a", "c", "b", "z"]


async def test_a_name_in_use_names_its_holder(moby: NamespacedStore) -> None:
    await moby.write(lambda tx: tx.containers.add(samples.container("c1", "web")))
    fault = await refusal(moby, lambda tx: tx.containers.add(samples.container("c2", "web")))
    assert isinstance(fault, AlreadyExists)
    assert (fault.kind, fault.name, fault.holder) == ("container", "web", "c1")
    await moby.write(lambda tx: tx.containers.add(samples.container("c2", "other")))
    fault = await refusal(moby, lambda tx: tx.containers.put(samples.container("c2", "web")))
    assert isinstance(fault, AlreadyExists)
    assert fault.holder == "c1"


async def test_containers_without_a_name_do_not_clash(moby: NamespacedStore) -> None:
    await moby.write(lambda tx: tx.containers.add(samples.container("c1")))
    await moby.write(lambda tx: tx.containers.add(samples.container("c2")))
    found = await moby.read(lambda tx: tx.containers.list())
    assert [c.name for c in found] == ["", ""]
    assert [c.image_id for c in found] == ["", ""]


async def test_a_pods_attempt_is_unique(moby: NamespacedStore) -> None:
    await moby.write(lambda tx: tx.sandboxes.add(samples.sandbox("s1", attempt=0)))
    await moby.write(lambda tx: tx.sandboxes.add(samples.sandbox("s2", attempt=1)))
    fault = await refusal(moby, lambda tx: tx.sandboxes.add(samples.sandbox("s3", attempt=1)))
    assert isinstance(fault, AlreadyExists)
    assert (fault.kind, fault.name, fault.holder) == ("sandbox", "web", "s2")


async def test_a_network_name_is_unique(moby: NamespacedStore) -> None:
    await moby.write(lambda tx: tx.networks.add(samples.network("n1", "net")))
    fault = await refusal(moby, lambda tx: tx.networks.add(samples.network("n2", "net")))
    assert isinstance(fault, AlreadyExists)
    assert (fault.kind, fault.name, fault.holder) == ("network", "net", "n1")


@pytest.mark.parametrize(
    ("use_case", "kind", "name"),
    [
        (
            lambda tx: tx.containers.add(samples.container(sandbox_id=SandboxId("s9"))),
            "sandbox",
            "s9",
        ),
        (
            lambda tx: tx.containers.add(samples.container(snapshot_key=SnapshotKey("k9"))),
            "snapshot",
            "k9",
        ),
        (lambda tx: tx.containers.add(samples.container(image=9)), "blob", samples.digest(9)),
        (lambda tx: tx.containers.put(samples.container(volume="v9")), "volume", "v9"),
        (lambda tx: tx.images.put(samples.image(number=1)), "blob", samples.digest(3)),
        (lambda tx: tx.snapshots.add(samples.snapshot("k3", "k9")), "snapshot", "k9"),
        (lambda tx: tx.endpoints.add(samples.endpoint("e9", "n9")), "network", "n9"),
        (lambda tx: tx.execs.add(samples.exec_("x9", "c9")), "container", "c9"),
    ],
)
async def test_what_a_record_refers_to_must_be_there(
    moby: NamespacedStore, use_case: Callable[[Transaction], Any], kind: str, name: str
) -> None:
    def with_three_blobs(tx: Transaction) -> None:
        for number in range(3):
            tx.blobs.grant(samples.blob(number))

    await moby.write(with_three_blobs)
    fault = await refusal(moby, use_case)
    assert isinstance(fault, NotFound)
    assert (fault.kind, fault.name) == (kind, name)


@pytest.mark.parametrize(
    ("use_case", "kind", "users"),
    [
        (lambda tx: tx.sandboxes.delete("s1"), "sandbox", ("c1",)),
        (lambda tx: tx.snapshots.delete("k1"), "snapshot", ("b1", "k2")),
        (lambda tx: tx.snapshots.delete("k2"), "snapshot", ("c1",)),
        (lambda tx: tx.volumes.delete("v1"), "volume", ("c1",)),
        (lambda tx: tx.networks.delete("n1"), "network", ("c1",)),
        (lambda tx: tx.containers.delete("c1"), "container", ("x1",)),
        (
            lambda tx: tx.blobs.revoke(samples.digest(0)),
            "blob",
            ("docker.io/library/busybox:latest",),
        ),
        (
            lambda tx: tx.blobs.revoke(samples.digest(2)),
            "blob",
            ("c1", "docker.io/library/busybox:latest"),
        ),
    ],
)
async def test_what_is_referred_to_is_in_use(
    moby: NamespacedStore,
    k8s: NamespacedStore,
    use_case: Callable[[Transaction], Any],
    kind: str,
    users: tuple[str, ...],
) -> None:
    await k8s.write(samples.fill)  # which must not be named
    await moby.write(samples.fill)
    fault = await refusal(moby, use_case)
    assert isinstance(fault, InUse)
    assert (fault.kind, tuple(sorted(fault.users))) == (kind, users)


async def test_a_use_case_may_go_on_after_a_refusal(moby: NamespacedStore) -> None:
    """What was refused leaves nothing; what came before and after it stays."""

    def use_case(tx: Transaction) -> None:
        tx.volumes.add(VolumeRecord("before"))
        with pytest.raises(NotFound):
            tx.containers.add(samples.container("half", volume="missing"))
        with pytest.raises(NotFound):
            tx.containers.put(samples.container("half", volume="missing"))
        tx.volumes.add(VolumeRecord("after"))

    await moby.write(use_case)
    assert [v.name for v in await moby.read(lambda tx: tx.volumes.list())] == ["before", "after"]
    assert await moby.read(lambda tx: tx.containers.list()) == []


async def test_a_refused_put_leaves_the_record_and_its_links(moby: NamespacedStore) -> None:
    await moby.write(samples.fill)
    await refusal(moby, lambda tx: tx.containers.put(samples.container(volume="missing")))
    fault = await refusal(moby, lambda tx: tx.volumes.delete("v1"))
    assert isinstance(fault, InUse)
    kept = await moby.read(lambda tx: tx.containers.get(ContainerId("c1")))
    assert kept is not None
    assert kept.name == "web"


async def test_a_volume_is_free_when_its_container_lets_go(moby: NamespacedStore) -> None:
    await moby.write(samples.fill)
    await moby.write(lambda tx: tx.containers.put(samples.container()))
    assert await moby.write(lambda tx: tx.volumes.delete("v1"))


async def test_an_address_is_leased_once_in_a_network(moby: NamespacedStore) -> None:
    await moby.write(samples.fill)
    await moby.write(lambda tx: tx.networks.add(samples.network("n2", "second")))
    same = samples.endpoint("e2", addresses=("10.1.0.3/24", "10.1.0.2/16"))
    fault = await refusal(moby, lambda tx: tx.endpoints.add(same))
    assert isinstance(fault, AlreadyExists)
    assert (fault.kind, fault.name, fault.holder) == ("address", "10.1.0.2", "e1")
    assert len(await moby.read(lambda tx: tx.endpoints.list())) == 1
    await moby.write(lambda tx: tx.endpoints.add(replace(same, network_id=NetworkId("n2"))))
    await moby.write(lambda tx: tx.endpoints.delete(samples.endpoint("e1").id))
    await moby.write(lambda tx: tx.endpoints.put(same))  # to the other network, its addresses along


async def test_one_ipv6_address_in_two_spellings_is_one(moby: NamespacedStore) -> None:
    await moby.write(samples.fill)
    await moby.write(lambda tx: tx.endpoints.add(samples.endpoint("e2", addresses=("fd00::1/64",))))
    twin = samples.endpoint("e3", addresses=("fd00:0::0001/64",))
    fault = await refusal(moby, lambda tx: tx.endpoints.add(twin))
    assert isinstance(fault, AlreadyExists)
    assert fault.holder == "e2"


async def test_an_endpoint_may_keep_its_own_address(moby: NamespacedStore) -> None:
    await moby.write(samples.fill)
    kept = samples.endpoint(addresses=("10.1.0.2/24", "10.1.0.4/24"))
    await moby.write(lambda tx: tx.endpoints.put(kept))
    assert await moby.read(lambda tx: tx.endpoints.get(kept.id)) == kept


async def test_no_address_is_an_invalid_argument(moby: NamespacedStore) -> None:
    await moby.write(samples.fill)
    fault = await refusal(
        moby, lambda tx: tx.endpoints.add(samples.endpoint("e2", addresses=("10.1.0.300/24",)))
    )
    assert isinstance(fault, InvalidArgument)


async def test_values_that_no_column_takes_are_refused(moby: NamespacedStore) -> None:
    fault = await refusal(moby, lambda tx: tx.volumes.add(VolumeRecord("\ud800")))
    assert isinstance(fault, InvalidArgument)
    fault = await refusal(moby, lambda tx: tx.volumes.add(VolumeRecord("v", created_ns=2**63)))
    assert isinstance(fault, InvalidArgument)


async def test_text_of_any_kind_survives(moby: NamespacedStore) -> None:
    strange = samples.container(
        labels={"ключ": "значение\n'\"\\"}, log_path="/var/\udcff", reason="a\x00b"
    )
    await moby.write(lambda tx: tx.containers.add(strange))
    assert await moby.read(lambda tx: tx.containers.get(strange.id)) == strange


@pytest.mark.parametrize("document", ["{", "[]", '{"labels": 1}', "null"])
async def test_a_damaged_document_is_data_loss_and_names_the_row(
    sqlite: SqliteDatabase, moby: NamespacedStore, document: str
) -> None:
    await moby.write(lambda tx: tx.volumes.add(VolumeRecord("v1")))

    def damage(tx: Any) -> None:
        tx.volumes._connection.execute("UPDATE volumes SET document = ?", [document])

    await moby.write(damage)
    with pytest.raises(DataLoss, match="volumes row 'v1'"):
        await moby.read(lambda tx: tx.volumes.list())
