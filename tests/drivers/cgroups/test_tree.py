"""Cgroups of this very host: made, filled, limited, killed and removed."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharedrt.drivers.cgroups import CgroupManager, Hierarchies
from sharedrt.drivers.cgroups.tree import ensure
from sharedrt.model.faults import Internal
from sharedrt.model.spec import Resources


def test_v2_hands_controllers_down(tmp_path: Path) -> None:
    """On a plain folder: the kernel's part, filling a new cgroup with files, is done before."""
    for part in ("", "a", "a/b"):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / "cgroup.controllers").write_text("cpu memory\n")
        (tmp_path / part / "cgroup.subtree_control").write_text("cpu\n")
    ensure(Hierarchies(tmp_path), "/a/b")
    for part in ("", "a", "a/b"):
        assert (tmp_path / part / "cgroup.subtree_control").read_text().startswith("+memory")
    (tmp_path / "a/b/cgroup.subtree_control").write_text("cpu memory\n")
    ensure(Hierarchies(tmp_path), "/a/b", for_processes=True)
    taken_back = (tmp_path / "a/b/cgroup.subtree_control").read_text()
    assert taken_back.startswith("-cpu -memory"), "processes cannot enter a cgroup that hands down"


@pytest.fixture
async def cgroup() -> AsyncIterator[tuple[CgroupManager, str]]:
    cgroups = CgroupManager("cgroupfs")
    path = f"/srt-tree-{secrets.token_hex(4)}"
    await cgroups.ensure(f"{path}/below", for_processes=True)
    yield cgroups, path
    await cgroups.kill(path)
    assert await cgroups.remove(path)
    assert not any(map(os.path.exists, [f"{root}{path}" for root in cgroups.hierarchies.roots()]))
    cgroups.close()


@pytest.mark.real
async def test_processes(cgroup: tuple[CgroupManager, str]) -> None:
    cgroups, path = cgroup
    await cgroups.ensure(path)  # again
    process = await asyncio.create_subprocess_exec("sleep", "100")
    try:
        await cgroups.move(f"{path}/below", process.pid)
        assert cgroups.pids(path) == [process.pid]
        assert not await cgroups.remove(path)
        assert await asyncio.wait_for(cgroups.kill(path), 60)
        assert await process.wait() == -9
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert cgroups.pids(path) == []
    with pytest.raises(Internal):
        await cgroups.move(path, 1 << 22)


@pytest.mark.real
async def test_limits(cgroup: tuple[CgroupManager, str]) -> None:
    cgroups, path = cgroup
    for size in (64 << 20, 128 << 20, 32 << 20):  # up as well as down
        await cgroups.set_limits(
            path, Resources(memory_bytes=size, memory_swap_bytes=size, pids_limit=77)
        )
        stats = cgroups.stats(path)
        assert (stats.memory.limit_bytes, stats.pids_limit) == (size, 77)
    with pytest.raises(Internal):
        await cgroups.set_limits(path, Resources(cpuset_cpus="9999"))


@pytest.mark.real
async def test_removing_what_is_not_there() -> None:
    cgroups = CgroupManager("cgroupfs")
    assert await cgroups.remove("/srt-never-made")
    assert not await cgroups.remove("/")
