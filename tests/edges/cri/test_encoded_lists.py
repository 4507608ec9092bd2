"""Lists from bytes are the lists that encoding them anew would give."""

from dataclasses import replace

from sharedrt.edges.cri.chunks import CHUNK_BYTES, chunks, encoded_chunks
from sharedrt.edges.cri.encoded_lists import EncodedItems
from sharedrt.edges.cri.render_container import item
from sharedrt.model.ids import ContainerId
from sharedrt.model.records import ContainerRecord, ContainerState
from sharedrt.pb.runtime import v1 as pb
from tests.edges.cri.builders import container


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, record: ContainerRecord) -> pb.Container:
        self.calls += 1
        return item(record)


def records(count: int) -> list[ContainerRecord]:
    """Some with labels that make their length need two and three bytes."""
    return [
        container(id=ContainerId(f"{i:064x}"), labels={"x": "y" * (i * 400)}) for i in range(count)
    ]


def test_joined_bytes_are_the_message() -> None:
    items = EncodedItems[ContainerRecord](1, item)
    some = records(60)
    encoded = items.join(pb.ListContainersResponse, some)
    assert encoded.data == bytes(pb.ListContainersResponse(containers=[item(r) for r in some]))


def test_a_record_is_encoded_again_only_when_it_changed() -> None:
    render = Counting()
    items = EncodedItems[ContainerRecord](1, render)
    some = records(3)
    items.join(pb.ListContainersResponse, some)
    items.join(pb.ListContainersResponse, some)
    assert render.calls == 3
    some[1] = replace(some[1], state=ContainerState.RUNNING)
    changed = items.join(pb.ListContainersResponse, some)
    assert render.calls == 4
    states = [c.state for c in pb.ListContainersResponse.FromString(changed.data).containers]
    assert states[1] == pb.ContainerState.CONTAINER_RUNNING


def test_what_is_gone_is_forgotten() -> None:
    render = Counting()
    items = EncodedItems[ContainerRecord](1, render)
    some = records(3)
    items.join(pb.ListContainersResponse, some)
    items.retain(some[:1])
    items.join(pb.ListContainersResponse, some)
    assert render.calls == 5


def test_chunks_hold_all_items_in_order_and_are_bounded() -> None:
    items = EncodedItems[ContainerRecord](1, item)
    some = records(200)
    parts = list(encoded_chunks(pb.StreamContainersResponse, map(items.encode, some)))
    assert len(parts) > 2
    assert all(len(part.data) <= CHUNK_BYTES for part in parts)
    ids = [
        c.id for part in parts for c in pb.StreamContainersResponse.FromString(part.data).containers
    ]
    assert ids == [record.id for record in some]
    assert list(encoded_chunks(pb.StreamContainersResponse, [])) == []
    assert [len(group) for group in chunks(range(250))] == [100, 100, 50]
