"""Slices end with what stands in them: a ``systemctl`` of the test's own writes down what it is asked."""

from pathlib import Path

import pytest

from sharedrt.drivers.cgroups.manager import CgroupManager
from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.model.faults import Internal


def program(folder: Path, script: str) -> None:
    path = folder / "systemctl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class Asked:
    """What ``systemctl`` was asked so far."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "asked"
        self._file.touch()
        program(folder, f'echo "$@" >> {self._file}')

    def lines(self) -> list[str]:
        return self._file.read_text().splitlines()


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Asked(tmp_path)


async def test_a_slice_is_stopped_and_a_scope_is_not(tmp_path: Path, asked: Asked) -> None:
    tree = tmp_path / "tree"
    scope = tree / "a.slice/a-b.slice/x.scope"
    scope.mkdir(parents=True)
    cgroups = CgroupManager("systemd", hierarchies=Hierarchies(unified=tree), systemd_running=True)
    assert await cgroups.remove("/a.slice/a-b.slice/x.scope")
    assert not scope.exists()
    assert asked.lines() == [], "the OCI runtime has had systemd stop it"
    assert await cgroups.remove("/a.slice")
    assert asked.lines() == ["stop a.slice"]
    assert not (tree / "a.slice").exists()


async def test_a_slice_with_processes_is_left_alone(tmp_path: Path, asked: Asked) -> None:
    """Whoever configures another's slice as the parent shall not lose what is in it."""
    inside = tmp_path / "tree/a.slice/a-b.slice"
    inside.mkdir(parents=True)
    (inside / "cgroup.procs").write_text("123\n")
    cgroups = CgroupManager(
        "systemd", hierarchies=Hierarchies(unified=tmp_path / "tree"), systemd_running=True
    )
    assert not await cgroups.remove("/a.slice")
    assert asked.lines() == []


async def test_without_systemd_as_the_driver_it_is_not_asked(tmp_path: Path, asked: Asked) -> None:
    (tmp_path / "tree/a.slice").mkdir(parents=True)
    cgroups = CgroupManager(
        "cgroupfs", hierarchies=Hierarchies(unified=tmp_path / "tree"), systemd_running=True
    )
    assert await cgroups.remove("/a.slice")
    assert asked.lines() == []


async def test_what_systemd_refuses_is_told(tmp_path: Path, asked: Asked) -> None:
    program(tmp_path, "echo no such bus >&2; exit 1")
    cgroups = CgroupManager(
        "systemd", hierarchies=Hierarchies(unified=tmp_path), systemd_running=True
    )
    with pytest.raises(Internal, match="no such bus"):
        await cgroups.remove("/a.slice")
