"""Stats on the way out."""

from sharedrt.edges.cri.render_stats import network
from sharedrt.model.drivers import NetworkStats


def test_the_default_interface_is_cnis() -> None:
    """Where the host has tunnels, a new network namespace begins with theirs."""
    found = [NetworkStats(interface=name) for name in ("tunl0", "eth0", "net1")]
    usage = network(7, found)
    assert usage is not None
    assert usage.default_interface.name == "eth0"
    assert [one.name for one in usage.interfaces] == ["tunl0", "net1"]


def test_the_first_where_there_is_no_eth0() -> None:
    usage = network(7, [NetworkStats(interface="ens3")])
    assert usage is not None
    assert (usage.default_interface.name, usage.interfaces) == ("ens3", [])


def test_no_network_without_interfaces() -> None:
    assert network(7, []) is None
