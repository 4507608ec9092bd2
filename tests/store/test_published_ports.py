import pytest

from sharedrt.model.faults import AlreadyExists, InvalidArgument
from sharedrt.model.stores import NamespacedStore

from . import samples
from .samples import endpoint, port


@pytest.fixture(autouse=True)
async def networks(moby: NamespacedStore, k8s: NamespacedStore) -> None:
    for store in (moby, k8s):
        await store.write(lambda tx: tx.networks.add(samples.network()))


CLASHES = [
    ("", ""),
    ("", "0.0.0.0"),
    ("", "::"),
    ("", "127.0.0.1"),
    ("", "::1"),
    ("0.0.0.0", "0.0.0.0"),
    ("0.0.0.0", "127.0.0.1"),
    ("0.0.0.0", "::ffff:127.0.0.1"),
    ("127.0.0.1", "127.0.0.1"),
    ("::", "::1"),
    ("::1", "0:0::1"),
]
NEIGHBOURS = [
    ("0.0.0.0", "::"),
    ("0.0.0.0", "::1"),
    ("::", "127.0.0.1"),
    ("127.0.0.1", "127.0.0.2"),
    ("::1", "::2"),
]
BOTH_WAYS = [*CLASHES, *((b, a) for a, b in CLASHES if a != b)]


@pytest.mark.parametrize(("first", "second"), BOTH_WAYS)
async def test_clashes_in_one_namespace_name_the_holder(
    moby: NamespacedStore, first: str, second: str
) -> None:
    await moby.write(lambda tx: tx.endpoints.add(endpoint("e1", ports=(port(80, first),))))
    with pytest.raises(AlreadyExists) as caught:
        await moby.write(lambda tx: tx.endpoints.add(endpoint("e2", ports=(port(80, second),))))
    assert caught.value.kind == "host port"
    assert caught.value.name.endswith(":80/tcp")
    assert caught.value.holder == "e1"
    assert len(await moby.read(lambda tx: tx.endpoints.list())) == 1


@pytest.mark.parametrize(("first", "second"), BOTH_WAYS)
async def test_clashes_between_namespaces_name_nobody(
    moby: NamespacedStore, k8s: NamespacedStore, first: str, second: str
) -> None:
    await moby.write(lambda tx: tx.endpoints.add(endpoint(ports=(port(80, first),))))
    with pytest.raises(AlreadyExists) as caught:
        await k8s.write(lambda tx: tx.endpoints.add(endpoint(ports=(port(80, second),))))
    assert caught.value.holder == ""
    assert "e1" not in str(caught.value)


@pytest.mark.parametrize(("first", "second"), NEIGHBOURS)
async def test_neighbours(
    moby: NamespacedStore, k8s: NamespacedStore, first: str, second: str
) -> None:
    await moby.write(lambda tx: tx.endpoints.add(endpoint(ports=(port(80, first),))))
    await k8s.write(lambda tx: tx.endpoints.add(endpoint(ports=(port(80, second),))))
    await moby.write(
        lambda tx: tx.endpoints.add(endpoint("e2", ports=(port(81, first), port(81, second))))
    )


async def test_another_protocol_or_port_is_free(moby: NamespacedStore) -> None:
    ports = (port(80), port(81), port(80, protocol="udp"), port(80, protocol="sctp"))
    await moby.write(lambda tx: tx.endpoints.add(endpoint(ports=ports)))
    again = endpoint("e2", ports=(port(80, protocol="UDP"),))
    with pytest.raises(AlreadyExists, match=r"0\.0\.0\.0:80/udp"):
        await moby.write(lambda tx: tx.endpoints.add(again))


async def test_unsettled_ports_never_clash(moby: NamespacedStore) -> None:
    await moby.write(lambda tx: tx.endpoints.add(endpoint("e1", ports=(port(0), port(0)))))
    await moby.write(lambda tx: tx.endpoints.add(endpoint("e2", ports=(port(0),))))


async def test_an_endpoint_cannot_clash_with_itself(moby: NamespacedStore) -> None:
    both = endpoint(ports=(port(80), port(80, "127.0.0.1")))
    with pytest.raises(AlreadyExists):
        await moby.write(lambda tx: tx.endpoints.add(both))
    await moby.write(lambda tx: tx.endpoints.add(endpoint(ports=(port(80), port(80)))))


async def test_a_port_is_free_again(moby: NamespacedStore, k8s: NamespacedStore) -> None:
    await moby.write(lambda tx: tx.endpoints.add(endpoint(ports=(port(80), port(81)))))
    await moby.write(lambda tx: tx.endpoints.put(endpoint(ports=(port(81),))))
    await k8s.write(lambda tx: tx.endpoints.add(endpoint(ports=(port(80),))))
    await moby.write(lambda tx: tx.endpoints.delete(endpoint().id))
    await k8s.write(lambda tx: tx.endpoints.put(endpoint(ports=(port(80), port(81)))))


async def test_a_host_address_must_be_one(moby: NamespacedStore) -> None:
    with pytest.raises(InvalidArgument, match="localhost"):
        await moby.write(lambda tx: tx.endpoints.add(endpoint(ports=(port(80, "localhost"),))))
