"""Ports of networks with and without NAT."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.records import PortMapping
from sharedrt.services.networks.ports import is_open, without_nat

WEB = PortMapping("tcp", 80, 8080)
ADDRESSES = st.sampled_from(("", "0.0.0.0", "127.0.0.1", "203.0.113.1", "::", "::1", "fd00::1"))
FAMILIES = st.sets(st.sampled_from((4, 6)))
MAPPINGS = st.builds(
    PortMapping,
    st.sampled_from(("tcp", "udp", "sctp")),
    st.integers(1, 65535),
    st.integers(0, 65535),
    ADDRESSES,
    direct=st.booleans(),
)


@pytest.mark.parametrize(
    ("asked", "direct", "families", "settled"),
    [
        (WEB, (), (4,), [WEB]),
        (WEB, (4,), (4,), [replace(WEB, host_ip="0.0.0.0", direct=True)]),
        (
            WEB,
            (6,),
            (4, 6),
            [replace(WEB, host_ip="0.0.0.0"), replace(WEB, host_ip="::", direct=True)],
        ),
        (
            replace(WEB, host_ip="127.0.0.1"),
            (4,),
            (4,),
            [replace(WEB, host_ip="0.0.0.0", direct=True)],
        ),
        (replace(WEB, host_ip="127.0.0.1"), (6,), (4, 6), [replace(WEB, host_ip="127.0.0.1")]),
        (replace(WEB, host_ip="0.0.0.0", direct=True), (), (4,), [replace(WEB, host_ip="0.0.0.0")]),
    ],
)
def test_without_nat(
    asked: PortMapping,
    direct: tuple[int, ...],
    families: tuple[int, ...],
    settled: list[PortMapping],
) -> None:
    assert list(without_nat([asked], direct, families)) == settled


@given(st.lists(MAPPINGS, max_size=4), FAMILIES, FAMILIES)
def test_a_direct_mapping_takes_no_port(
    asked: list[PortMapping], direct: set[int], others: set[int]
) -> None:
    settled = list(without_nat(asked, direct, sorted(direct | others)))
    for mapping in settled:
        family = 6 if ":" in mapping.host_ip else 4
        assert mapping.direct == (bool(direct) and family in direct)
        assert not (mapping.direct and is_open(mapping))
    # Done twice, it is the same: mappings move from network to network with their containers.
    assert list(without_nat(settled, direct, sorted(direct | others))) == settled
