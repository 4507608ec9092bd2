"""macvlan and ipvlan on real links, in network namespaces of their own."""

from dataclasses import replace
from typing import Any

import pytest

from sharedrt.drivers.network.stacked import newborn
from sharedrt.model.drivers import EndpointConfig, ParentConfig
from sharedrt.model.faults import FailedPrecondition
from sharedrt.model.mac import mac_address
from tests.netlab import OUTSIDE, Lab

pytestmark = pytest.mark.real


async def plug(lab: Lab, name: str, parent: str, address: str, **more: Any) -> EndpointConfig:
    await lab.new_netns(name)
    config = EndpointConfig(
        id=f"{name}-{lab.table}",
        bridge=parent,
        netns=lab.netns(name),
        interface="eth0",
        mac=mac_address((address,)),
        addresses=(address,),
        gateways=(),
        driver="macvlan",
        mode="bridge",
    )
    config = replace(config, **more)
    await lab.bridges.connect(config)
    return config


async def test_macvlan_is_on_the_wire_of_its_parent(lab: Lab) -> None:
    await lab.bridges.ensure_parent(ParentConfig("wire", "macvlan"))
    first = await plug(lab, "a", "wire", "203.0.113.10/24", gateways=(OUTSIDE,))
    await plug(lab, "b", "wire", "203.0.113.11/24", mtu=1400)
    for where in ("a", "b", "outside"):
        lab.serve(where, 80)
    assert lab.ask("outside", "203.0.113.10", 80) == f"a {OUTSIDE}"
    assert lab.ask("a", OUTSIDE, 80) == "outside 203.0.113.10"
    assert lab.ask("b", "203.0.113.10", 80) == "a 203.0.113.11"
    assert f"default via {OUTSIDE} dev eth0" in lab.sh("a", "ip", "route")
    link = lab.sh("b", "ip", "-d", "link", "show", "eth0")
    assert "macvlan mode bridge" in link
    assert "mtu 1400" in link
    assert "02:42:cb:00:71:0b" in link
    # Plugged in again: the same interface, not another.
    before = lab.sh("a", "ip", "-o", "link", "show", "eth0").split(":")[0]
    await lab.bridges.connect(first)
    assert lab.sh("a", "ip", "-o", "link", "show", "eth0").split(":")[0] == before
    for _ in range(2):
        await lab.bridges.disconnect(first)
    assert "eth0" not in lab.sh("a", "ip", "link")
    await lab.namespaces.remove(first.netns.parent)
    await lab.bridges.disconnect(first)
    await lab.bridges.remove_parent("wire")
    assert "wire" in lab.sh("host", "ip", "link"), "not ours to remove"


async def test_a_crash_before_the_alias_is_mended(lab: Lab) -> None:
    config = await plug(lab, "a", "wire", "203.0.113.10/24")
    lab.sh("a", "ip", "link", "set", "eth0", "alias", "cut short")
    await lab.bridges.connect(config)
    assert f"endpoint:{config.id}" in lab.sh("a", "ip", "link", "show", "eth0")


async def test_a_host_whose_own_link_has_that_name(lab: Lab) -> None:
    """Linux before 6.13 looks for a new link's name where the request comes from, not where the link will be."""
    lab.sh("host", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    config = await plug(lab, "a", "wire", "203.0.113.10/24")
    assert "macvlan " in lab.sh("a", "ip", "-d", "link", "show", "eth0")
    assert "veth" in lab.sh("host", "ip", "-d", "link", "show", "eth0")
    await lab.bridges.disconnect(config)
    assert "eth0" not in lab.sh("a", "ip", "link")


async def test_a_crash_before_the_name_is_mended(lab: Lab) -> None:
    """What was left has another name: it is found when the interface is asked for again, and when it shall go."""
    config = await plug(lab, "a", "wire", "203.0.113.10/24")
    number = lab.sh("a", "ip", "-o", "link", "show", "eth0").split(":")[0]
    lab.sh("a", "ip", "link", "set", "eth0", "down")
    lab.sh("a", "ip", "link", "set", "eth0", "name", newborn(config))
    await lab.bridges.connect(config)
    assert newborn(config) not in lab.sh("a", "ip", "link")
    assert lab.sh("a", "ip", "-o", "link", "show", "eth0").split(":")[0] != number
    lab.sh("a", "ip", "link", "set", "eth0", "down")
    lab.sh("a", "ip", "link", "set", "eth0", "name", newborn(config))
    await lab.bridges.disconnect(config)
    assert newborn(config) not in lab.sh("a", "ip", "link")


async def test_private_mode_keeps_containers_apart(lab: Lab) -> None:
    await plug(lab, "a", "wire", "203.0.113.10/24", mode="private")
    await plug(lab, "b", "wire", "203.0.113.11/24", mode="private")
    lab.serve("a", 80)
    assert lab.ask("outside", "203.0.113.10", 80) == f"a {OUTSIDE}"
    assert lab.ask("b", "203.0.113.10", 80, wait_s=1) == "no answer"


async def test_a_private_parent_leads_nowhere(lab: Lab) -> None:
    parent = ParentConfig("dm-0123456789ab", "macvlan", private=True)
    for _ in range(2):
        await lab.bridges.ensure_parent(parent)
    await plug(lab, "a", parent.name, "172.31.9.2/24")
    await plug(lab, "b", parent.name, "172.31.9.3/24")
    lab.serve("a", 80)
    assert lab.ask("b", "172.31.9.2", 80) == "a 172.31.9.3"
    lab.sh("host", "ip", "address", "add", "172.31.9.1/24", "dev", "wire")
    assert lab.ask("host", "172.31.9.2", 80, wait_s=1) == "no answer"
    assert await lab.bridges.parents_on_host() == [parent.name]
    await lab.bridges.remove_parent(parent.name)
    assert await lab.bridges.parents_on_host() == []
    links = lab.sh("host", "ip", "link")
    assert "dm-" not in links
    assert "dp-" not in links


async def test_a_vlan_of_the_parent(lab: Lab) -> None:
    parent = ParentConfig("wire.50", "macvlan", base="wire", vlan=50)
    if not knows(lab, "vlan"):
        with pytest.raises(FailedPrecondition, match="no such links"):
            await lab.bridges.ensure_parent(parent)
        return
    for _ in range(2):
        await lab.bridges.ensure_parent(parent)
    lab.sh("outside", "ip", "link", "add", "link", "wire", "wire.50", "type", "vlan", "id", "50")
    lab.sh("outside", "ip", "address", "add", "198.51.100.1/24", "dev", "wire.50")
    lab.sh("outside", "ip", "link", "set", "wire.50", "up")
    await plug(lab, "a", parent.name, "198.51.100.2/24")
    lab.serve("a", 80)
    assert lab.ask("outside", "198.51.100.2", 80) == "a 198.51.100.1"
    assert await lab.bridges.parents_on_host() == ["wire.50"]
    await lab.bridges.flush()
    assert "wire.50" not in lab.sh("host", "ip", "link")


async def test_ipvlan(lab: Lab) -> None:
    """Where the kernel has it; where not, it says so and nothing is left."""
    parent = ParentConfig("wire", "ipvlan")
    if not knows(lab, "ipvlan"):
        with pytest.raises(FailedPrecondition, match="no such links"):
            await lab.bridges.ensure_parent(parent)
        with pytest.raises(FailedPrecondition, match="no such links"):
            await plug(
                lab, "a", "wire", "203.0.113.10/24", driver="ipvlan", mode="l2", flag="bridge"
            )
        assert "eth0" not in lab.sh("a", "ip", "link")
        return
    await lab.bridges.ensure_parent(parent)
    more = {"driver": "ipvlan", "mac": "", "flag": "bridge"}
    await plug(lab, "a", "wire", "203.0.113.10/24", mode="l2", **more)
    lab.serve("a", 80)
    assert lab.ask("outside", "203.0.113.10", 80) == f"a {OUTSIDE}"
    await plug(lab, "b", "wire", "203.0.113.11/24", mode="l3", device_route=True, **more)
    assert "default dev eth0" in lab.sh("b", "ip", "route")


async def test_parents_that_are_not_there(lab: Lab) -> None:
    for parent in (
        ParentConfig("nosuch", "macvlan"),
        ParentConfig("nosuch.5", "macvlan", base="nosuch", vlan=5),
    ):
        with pytest.raises(FailedPrecondition, match="was not found on the host"):
            await lab.bridges.ensure_parent(parent)
    with pytest.raises(FailedPrecondition, match="is not there"):
        await plug(lab, "a", "nosuch", "203.0.113.10/24")


def knows(lab: Lab, kind: str) -> bool:
    done = lab.sh(
        "host",
        "ip",
        "link",
        "add",
        "link",
        "wire",
        "probe0",
        "type",
        kind,
        *(("id", "9") if kind == "vlan" else ()),
        check=False,
    )
    lab.sh("host", "ip", "link", "del", "probe0", check=False)
    return "Unknown device type" not in done and "not supported" not in done
