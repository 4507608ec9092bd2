import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import InUse, InvalidArgument, ResourceExhausted
from sharedrt.services.networks.addresses import AddressPool, first_host, free_subnet, overlaps


def test_a_freed_address_is_the_last_to_be_leased_again() -> None:
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    first = pool.lease("a")
    assert first == "10.0.0.2/29"
    pool.release(first, "a")
    assert [pool.lease(str(n)) for n in range(5)] == [
        *(f"10.0.0.{n}/29" for n in (3, 4, 5, 6)),
        "10.0.0.2/29",
    ]
    with pytest.raises(ResourceExhausted):
        pool.lease("x")


def test_certain_addresses() -> None:
    pool = AddressPool("10.0.0.0/24", "10.0.0.254")
    assert pool.lease("a", "10.0.0.9") == "10.0.0.9/24"
    with pytest.raises(InUse) as caught:
        pool.lease("b", "10.0.0.9")
    assert caught.value.users == ("a",)
    for wrong in ("10.0.1.9", "10.0.0.254", "10.0.0.0", "10.0.0.255", "x", "fd00::1"):
        with pytest.raises(InvalidArgument):
            pool.lease("b", wrong)
    pool.release("10.0.0.9/24", "b")
    with pytest.raises(InUse):
        pool.lease("b", "10.0.0.9")


def test_after_a_restart_it_goes_on_behind_the_last_one() -> None:
    pool = AddressPool("10.0.0.0/24", "10.0.0.1")
    pool.restore("10.0.0.2/24", "a")
    pool.restore("10.0.0.7/24", "b")
    assert pool.lease("c") == "10.0.0.8/24"


def test_of_two_addresses_both_are_leased() -> None:
    pool = AddressPool("10.0.0.0/31", "")
    assert {pool.lease("a"), pool.lease("b")} == {"10.0.0.0/31", "10.0.0.1/31"}
    with pytest.raises(ResourceExhausted):
        pool.lease("c")


def test_ipv6() -> None:
    pool = AddressPool("fd00::/64", "fd00::1")
    assert pool.lease("a") == "fd00::2/64"
    assert pool.lease("b", "fd00::ffff:1") == "fd00::ffff:1/64"
    assert first_host("fd00::/64") == "fd00::1"


@given(st.lists(st.booleans(), max_size=60))
def test_no_two_hold_one_address(steps: list[bool]) -> None:
    pool = AddressPool("10.0.0.0/27", "10.0.0.1")
    held: list[tuple[str, str]] = []
    for number, lease in enumerate(steps):
        if lease and len(held) < 29:
            held.append((pool.lease(str(number)), str(number)))
        elif held:
            pool.release(*held.pop(0))
        addresses = [address for address, _ in held]
        assert len(addresses) == len(set(addresses))
        assert "10.0.0.1/27" not in addresses


def test_subnets_from_pools() -> None:
    pools = ("10.1.0.0/21", "192.168.0.0/24")
    assert free_subnet(pools, ["10.0.0.0/8", "fd00::/8"]) == "192.168.0.0/24"
    assert free_subnet(pools, ["10.1.1.7/32"]) == "10.1.4.0/22"
    with pytest.raises(ResourceExhausted):
        free_subnet(pools, ["10.1.0.0/16", "192.168.0.128/25"])
    assert overlaps("10.0.0.0/24", ["fd00::/8", "10.0.1.0/24", "10.0.0.128/25"]) == "10.0.0.128/25"
    assert overlaps("10.0.0.0/24", ["10.0.1.0/24"]) == ""
