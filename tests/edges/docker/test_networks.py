"""Networks over the API."""

import json
from typing import Any

import pytest

from sharedrt.model.faults import FailedPrecondition, InUse
from sharedrt.model.ids import EndpointId, NetworkId
from sharedrt.model.records import EndpointRecord, NetworkRecord
from sharedrt.services.networks import NewNetwork
from tests.edges.docker.conftest import DoorUnderTest

CUSTOM = NetworkRecord(
    NetworkId("9" * 64),
    "front",
    "bridge",
    subnets=("10.0.0.0/24",),
    gateways=("10.0.0.1",),
    labels={"a": "b"},
)


async def test_list_and_filters(door: DoorUnderTest) -> None:
    door.runtime.networks.records.append(CUSTOM)
    door.runtime.networks.records.append(NetworkRecord(NetworkId("8" * 64), "pods", "bridge"))

    async def names(filters: dict[str, Any]) -> list[str]:
        _, listed, _ = await door.call("GET", f"/networks?filters={json.dumps(filters)}")
        return [network["Name"] for network in listed]

    assert await names({}) == ["bridge", "host", "none", "front"], "pods' network is not Docker's"
    assert await names({"type": ["custom"]}) == ["front"]
    assert await names({"driver": ["null"]}) == ["none"]
    assert await names({"name": ["fro"]}) == ["front"]
    assert await names({"name": ["^bridge$", "nt$"]}) == ["bridge", "front"]
    assert await names({"id": ["^98"]}) == []
    assert await names({"id": ["99"]}) == ["front"]
    assert await names({"label": ["a=b"]}) == ["front"]
    assert await names({"dangling": ["true"]}) == ["front"]
    assert (await door.call("GET", '/networks?filters={"type":["odd"]}'))[0] == 400


async def test_inspect_shows_who_is_on_it(door: DoorUnderTest) -> None:
    id = await door.create()
    door.runtime.networks.users["1" * 64] = [
        EndpointRecord(
            EndpointId("e" * 64), NetworkId("1" * 64), id, mac="02:42", addresses=("172.29.0.2/16",)
        ),
        EndpointRecord(EndpointId("f" * 64), NetworkId("1" * 64), "a pod's"),
    ]
    _, network, _ = await door.call("GET", "/networks/bridge")
    assert network["IPAM"]["Config"] == [{"Subnet": "172.29.0.0/16", "Gateway": "172.29.0.1"}]
    assert network["Containers"] == {
        id: {
            "Name": "web",
            "EndpointID": "e" * 64,
            "MacAddress": "02:42",
            "IPv4Address": "172.29.0.2/16",
            "IPv6Address": "",
        }
    }
    status, value, _ = await door.call("GET", "/networks/nope")
    assert (status, value["message"]) == (404, "network nope not found")


async def test_create(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[NewNetwork] = []

    async def create(request: NewNetwork) -> NetworkRecord:
        requests.append(request)
        return CUSTOM

    monkeypatch.setattr(door.runtime.networks, "create", create, raising=False)
    body = {
        "Name": "front",
        "Internal": True,
        "Labels": {"a": "b"},
        "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.1"}]},
    }
    status, value, _ = await door.call("POST", "/networks/create", body)
    assert (status, value["Id"]) == (201, CUSTOM.id)
    assert requests == [
        NewNetwork(
            "front",
            subnets=("10.0.0.0/24",),
            gateways=("10.0.0.1",),
            ranges=("",),
            internal=True,
            labels={"a": "b"},
        )
    ]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Name": ""}, 400),
        ({"Name": "host"}, 403),
        ({"Driver": "overlay"}, 501),
        ({"Ingress": True}, 501),
        ({"ConfigOnly": True, "Internal": True}, 403),
        ({"ConfigOnly": True, "ConfigFrom": {"Network": "base"}}, 403),
        ({"ConfigFrom": {"Network": "base"}, "Labels": {"a": "b"}}, 403),
        ({"ConfigFrom": {"Network": "base"}, "Options": {"a": "b"}}, 403),
        ({"EnableIPv4": False}, 400),
        (
            {
                "EnableIPv4": False,
                "EnableIPv6": True,
                "IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}]},
            },
            400,
        ),
        ({"Driver": "host"}, 403),
        ({"Scope": "swarm"}, 501),
        ({"IPAM": {"Driver": "dhcp"}}, 501),
        ({"IPAM": {"Config": [{"Subnet": "odd"}]}}, 400),
        ({"IPAM": {"Config": [{"Gateway": "10.0.0.1"}]}}, 400),
        ({"IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "IPRange": "10.1.0.0/16"}]}}, 400),
        ({"IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.1.0.1"}]}}, 400),
    ],
)
async def test_create_refused(door: DoorUnderTest, change: dict[str, Any], status: int) -> None:
    assert (await door.call("POST", "/networks/create", {"Name": "x", **change}))[0] == status


async def test_remove(door: DoorUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    fault: list[Exception] = [FailedPrecondition("network", "bridge", "is predefined")]

    async def remove(ref: str) -> None:
        if fault:
            raise fault.pop()

    monkeypatch.setattr(door.runtime.networks, "remove", remove, raising=False)
    status, value, _ = await door.call("DELETE", "/networks/bridge")
    assert (status, value["message"]) == (
        403,
        "bridge is a pre-defined network and cannot be removed",
    )
    id = await door.create()
    fault.append(InUse("network", "bridge", (id,)))
    status, value, _ = await door.call("DELETE", "/networks/bridge")
    assert status == 403
    assert f'has active endpoints (name:"web" id:"{id[:12]}")' in value["message"]
    assert (await door.call("DELETE", "/networks/bridge"))[0] == 204
