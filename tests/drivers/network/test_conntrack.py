"""UDP clients that go on sending while the container behind a port is replaced."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from sharedrt.model.records import PortMapping
from tests.netlab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab

SETTLED_S = 0.5
"""Time in which what goes on in the background is over."""

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
    await soon(lambda: lab.ask(where, address, 5353, "udp", "40000") == f"a {client}")
    await lab.bridges.disconnect(first)
    await lab.bridges.connect(replace(second, ports=tuple(ports)))
    await soon(lambda: lab.ask(where, address, 5353, "udp", "40000") == f"b {client}")


async def test_flows_to_other_ports_stay(lab: Lab) -> None:
    bridge = await lab.bridge()
    config = await lab.container(
        "a",
        bridge,
        "172.31.0.2/24",
        ports=[PortMapping("udp", 53, 5353), PortMapping("udp", 54, 5454)],
    )
    lab.serve("a", 54, "udp")
    await asyncio.sleep(SETTLED_S)

    def flows() -> str:
        return lab.sh("host", "cat", "/proc/net/nf_conntrack")

    assert lab.ask("outside", HOST, 5454, "udp", "40000") == f"a {OUTSIDE}"
    assert "dport=5454" in flows()
    await lab.bridges.connect(replace(config, ports=config.ports[1:]))
    await asyncio.sleep(SETTLED_S)
    assert "dport=5454" in flows()
    await lab.bridges.disconnect(config)
    await soon(lambda: "dport=5454" not in flows())


async def soon(condition: Callable[[], bool]) -> None:
    """Forgetting goes on in the background: within a second it has to be done."""
    for _ in range(20):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within a second")
