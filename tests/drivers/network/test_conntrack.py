"""UDP clients that go on sending while the container behind a port is replaced."""

from dataclasses import replace

import pytest

from sharedrt.model.records import PortMapping
from tests.netlab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("address", "client"), [(HOST, OUTSIDE), (HOST6, OUTSIDE6), ("127.0.0.1", "172.31.0.1")]
)
async def test_a_udp_client_follows_the_port(lab: Lab, address: str, client: str) -> None:
    bridge = await lab.bridge("br0", "172.31.0.1/24", "fd00:bb::1/64")
    ports = [PortMapping("udp", 53, 5353)]
    where = "host" if address == "127.0.0.1" else "outside"
    # Before anything is published: the flow is tracked, without NAT.
    lab.ask(where, address, 5353, "udp", "40000")
    first = await lab.container("a", bridge, "172.31.0.2/24", "fd00:bb::2/64", ports=ports)
    second = await lab.container("b", bridge, "172.31.0.3/24", "fd00:bb::3/64")
    bind = "::" if ":" in address else "0.0.0.0"
    lab.serve("a", 53, "udp", bind)
    lab.serve("b", 53, "udp", bind)
    assert lab.ask(where, address, 5353, "udp", "40000") == f"a {client}"
    await lab.bridges.disconnect(first)
    await lab.bridges.connect(replace(second, ports=tuple(ports)))
    assert lab.ask(where, address, 5353, "udp", "40000") == f"b {client}"


async def test_flows_to_other_ports_stay(lab: Lab) -> None:
    bridge = await lab.bridge()
    config = await lab.container(
        "a",
        bridge,
        "172.31.0.2/24",
        ports=[PortMapping("udp", 53, 5353), PortMapping("udp", 54, 5454)],
    )
    lab.serve("a", 54, "udp")
    assert lab.ask("outside", HOST, 5454, "udp", "40000") == f"a {OUTSIDE}"
    await lab.bridges.connect(replace(config, ports=config.ports[1:]))
    flows = lab.sh("host", "cat", "/proc/net/nf_conntrack")
    assert "dport=5454" in flows
    await lab.bridges.disconnect(config)
    assert "dport=5454" not in lab.sh("host", "cat", "/proc/net/nf_conntrack")
