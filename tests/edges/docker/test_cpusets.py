"""Lists of CPUs and memory nodes."""

import pytest

from sharedrt.edges.docker.cpusets import check_set, parse_set
from sharedrt.edges.docker.words import Refusal


def test_lists() -> None:
    assert parse_set("0-2,7") == {0, 1, 2, 7}
    assert parse_set("3") == {3}
    for text in ("", "a", "2-1", "1-", "-1", "1,,2", "0-99999999"):
        with pytest.raises(ValueError):
            parse_set(text)


def test_against_what_is_online() -> None:
    check_set("0,1", "cpuset cpus", "CPUs", "0-1")
    check_set("0-7", "cpuset cpus", "CPUs", "")
    with pytest.raises(Refusal, match="not available - requested 0-2, available: 0-1"):
        check_set("0-2", "cpuset cpus", "CPUs", "0-1")
    with pytest.raises(Refusal, match="Invalid value abc for cpuset mems: invalid format: abc"):
        check_set("abc", "cpuset mems", "memory nodes", "0")
