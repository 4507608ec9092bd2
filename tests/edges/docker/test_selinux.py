"""SELinux labels out of security options."""

import re

import pytest

from sharedrt.edges.docker.selinux import labels
from sharedrt.edges.docker.words import Refusal


def test_a_level_of_its_own() -> None:
    process, mount = labels([], enabled=True)
    found = re.fullmatch(r"system_u:system_r:container_t:(s0:c\d+,c\d+)", process)
    assert found is not None
    assert mount == f"system_u:object_r:container_file_t:{found[1]}"
    assert labels([], enabled=True) != (process, mount)


def test_each_part_can_be_chosen() -> None:
    options = ["user:u", "role:r", "type:t", "level:s0:c1,c2", "filetype:f"]
    assert labels(options, enabled=True) == ("u:r:t:s0:c1,c2", "u:object_r:f:s0:c1,c2")


def test_none() -> None:
    assert labels(["type:t"], enabled=False) == ("", "")
    assert labels(["disable"], enabled=True) == ("", "")


@pytest.mark.parametrize("option", ["odd", "odd:x", "type:", "disable:x"])
def test_options_that_there_are_not(option: str) -> None:
    with pytest.raises(Refusal, match="bad label option"):
        labels([option], enabled=False)
