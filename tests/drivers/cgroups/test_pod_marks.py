"""Marks on plain folders, and on this very host."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharedrt.drivers.cgroups import CgroupManager, Hierarchies
from sharedrt.drivers.cgroups import pod_marks as marks

ID = "e" * 64


def test_one_cgroup_in_the_one_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "pods").mkdir()
    tree = Hierarchies(tmp_path)
    assert marks.make(tree, "/pods", ID, "c1")
    assert (tmp_path / "pods" / ID).is_dir()
    assert marks.make(tree, "/pods", ID, "c1")
    marks.remove(tree, "/pods", ID)
    marks.remove(tree, "/pods", ID)
    assert os.listdir(tmp_path / "pods") == []


def test_on_v1_the_first_hierarchy_that_has_the_parent(tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in ("memory", "pids", "cpu", "freezer")}
    for name, root in roots.items():
        (root / ("pods" if name != "pids" else "")).mkdir(parents=True)
    tree = Hierarchies(None, v1=roots)
    assert marks.make(tree, "/pods/", ID, "c1")
    assert [name for name, root in roots.items() if (root / "pods" / ID).exists()] == ["cpu"]
    (roots["pids"] / "pods").mkdir()
    assert marks.make(tree, "/pods/", ID, "c1")
    assert [name for name, root in roots.items() if (root / "pods" / ID).exists()] == ["pids"]


def test_a_parent_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert not marks.make(Hierarchies(tmp_path), "/kubepods/pod1", ID, "c1")
    assert os.listdir(tmp_path) == []


@pytest.fixture
def parent() -> Iterator[tuple[CgroupManager, str]]:
    cgroups = CgroupManager("cgroupfs")
    path = f"/srt-marks-{secrets.token_hex(4)}"
    folders = [root / path[1:] for root in cgroups.hierarchies.roots()]
    for folder in folders:
        folder.mkdir()
    yield cgroups, path
    for folder in folders:
        folder.rmdir()
    cgroups.close()


@pytest.mark.real
async def test_on_this_host(parent: tuple[CgroupManager, str]) -> None:
    cgroups, path = parent

    def found() -> list[Path]:
        return [p for root in cgroups.hierarchies.roots() if (p := root / path[1:] / ID).exists()]

    await cgroups.mark_pod(path, ID, "c1")
    (first,) = found()
    made = first.stat().st_ino
    await cgroups.mark_pod(path, ID, "c1")
    (second,) = found()
    assert second.stat().st_ino != made, "a new one"
    assert await cgroups.pod_mark(path, ID) == "c1"
    assert second.parent.parent.name == (
        "pids" if cgroups.version == 1 else second.parent.parent.name
    )
    await cgroups.unmark_pod(path, ID)
    assert found() == []
    assert await cgroups.pod_mark(path, ID) == ""
