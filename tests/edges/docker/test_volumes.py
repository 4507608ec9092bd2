"""Volumes over the API."""

from sharedrt.model.faults import InUse
from tests.edges.docker.conftest import DoorUnderTest


async def test_life(door: DoorUnderTest) -> None:
    body = {"Name": "data", "Labels": {"a": "b"}, "DriverOpts": {"type": "tmpfs"}}
    status, made, _ = await door.call("POST", "/volumes/create", body)
    assert status == 201
    assert made["Mountpoint"] == "/volumes/data"
    assert (made["Labels"], made["Options"]) == ({"a": "b"}, {"type": "tmpfs"})
    assert (await door.call("GET", "/volumes/data"))[1] == made
    assert (await door.call("GET", '/volumes?filters={"label":["a=b"]}'))[1]["Volumes"] == [made]
    assert (await door.call("GET", '/volumes?filters={"name":["other"]}'))[1]["Volumes"] == []
    assert (await door.call("DELETE", "/volumes/data"))[0] == 204
    status, value, _ = await door.call("DELETE", "/volumes/data")
    assert (status, value["message"]) == (404, "get data: no such volume")
    assert (await door.call("DELETE", "/volumes/data?force=1"))[0] == 204


async def test_a_volume_in_use(door: DoorUnderTest) -> None:
    await door.call("POST", "/volumes/create", {"Name": "data"})

    async def remove(name: str) -> None:
        raise InUse("volume", name, ("c" * 64,))

    door.runtime.volumes.remove = remove  # type: ignore[method-assign]
    status, value, _ = await door.call("DELETE", "/volumes/data")
    assert (status, value["message"]) == (409, f"remove data: volume is in use - [{'c' * 64}]")


async def test_prune_keeps_named_volumes_unless_asked(door: DoorUnderTest) -> None:
    await door.call("POST", "/volumes/create", {"Name": "data"})
    assert (await door.call("POST", "/volumes/prune"))[1]["VolumesDeleted"] == []
    _, value, _ = await door.call("POST", '/volumes/prune?filters={"all":["true"]}')
    assert value == {"VolumesDeleted": ["data"], "SpaceReclaimed": 7}
