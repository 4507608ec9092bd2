"""Which capabilities a container gets."""

import pytest

from sharedrt.drivers.oci.capabilities import (
    ALL,
    DEFAULT,
    ambient,
    granted,
    own_bounding_set,
    parse_mask,
    process_capabilities,
)
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.spec import Capabilities

EVERY = frozenset(ALL)


def test_numbers_are_the_kernels() -> None:
    assert len(ALL) == 41
    assert (ALL[0], ALL[21], ALL[24], ALL[40]) == (
        "CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_CHECKPOINT_RESTORE",
    )  # fmt: skip
    assert parse_mask("1000001") == {"CAP_CHOWN", "CAP_SYS_RESOURCE"}
    assert own_bounding_set() <= EVERY


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (Capabilities(), set(DEFAULT)),
        (Capabilities(add=("net_admin",)), {*DEFAULT, "CAP_NET_ADMIN"}),
        (Capabilities(drop=("CAP_CHOWN", "kill")), set(DEFAULT) - {"CAP_CHOWN", "CAP_KILL"}),
        (Capabilities(drop=("ALL",), add=("NET_RAW",)), {"CAP_NET_RAW"}),
        (Capabilities(add=("ALL",), drop=("SYS_ADMIN",)), EVERY - {"CAP_SYS_ADMIN"}),
        (Capabilities(add=("ALL",), drop=("ALL",)), EVERY),
        (Capabilities(add=("SYS_TIME",), drop=("SYS_TIME",)), set(DEFAULT)),
    ],
)
def test_changes(changes: Capabilities, expected: set[str]) -> None:
    assert set(granted(changes, privileged=False, bounding=EVERY)) == expected


def test_never_beyond_the_daemons_own() -> None:
    bounding = EVERY - {"CAP_SYS_RESOURCE"}
    assert set(granted(Capabilities(), privileged=True, bounding=bounding)) == bounding
    assert "CAP_SYS_RESOURCE" not in granted(
        Capabilities(add=("SYS_RESOURCE",)), privileged=False, bounding=bounding
    )


def test_unknown_names() -> None:
    for changes in (Capabilities(add=("FLY",)), Capabilities(drop=("FLY",))):
        with pytest.raises(InvalidArgument, match="FLY"):
            granted(changes, privileged=False, bounding=EVERY)


def test_other_users_than_root_start_with_the_ambient_ones() -> None:
    have = ("CAP_CHOWN", "CAP_NET_RAW")
    assert ambient(Capabilities(ambient=("NET_RAW", "SYS_ADMIN")), have) == ("CAP_NET_RAW",)
    root = process_capabilities(have, (), 0)
    assert (root["effective"], root["inheritable"]) == (list(have), [])
    other = process_capabilities(have, ("CAP_NET_RAW",), 1000)
    assert other["bounding"] == list(have)
    for kind in ("effective", "permitted", "inheritable", "ambient"):
        assert other[kind] == ["CAP_NET_RAW"]
