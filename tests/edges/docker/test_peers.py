"""Who may use a Docker door."""

from pathlib import Path

from sharedrt.edges.docker.gate import Peer
from sharedrt.edges.docker.peers import members_of


def test_root_always_others_by_group(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "status").write_text("Name:\tsh\nGroups:\t4 990 1000\n")
    check = members_of(990, tmp_path)
    assert check(Peer(1, 0, 0))
    assert check(Peer(5, 1000, 990)), "its own group"
    assert check(Peer(77, 1000, 1000)), "a supplementary group"
    assert not check(Peer(78, 1000, 1000)), "a process that is gone"
    assert not members_of(991, tmp_path)(Peer(77, 1000, 1000))


def test_without_a_group_root_alone(tmp_path: Path) -> None:
    check = members_of(None, tmp_path)
    assert check(Peer(1, 0, 0))
    assert not check(Peer(77, 1000, 0))
