"""Moving what was restored: real processes, in a tree of folders that stands for the cgroups."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.drivers.oci.ports import Cgroups
from sharedrt.drivers.oci.procs import start_ticks
from sharedrt.drivers.oci.restored import bring_home, held
from sharedrt.model.faults import Internal
from tests.real.waiting import until

HOME = "/srt.slice/new.scope"


class Tree:
    """Who is in the one cgroup that matters, once it is there."""

    def __init__(self, root: Path) -> None:
        self.hierarchies = Hierarchies(unified=root)
        self.made = False
        self.inside: list[int] = []

    async def move(self, path: str, pid: int) -> None:
        if path != HOME or not self.made or start_ticks(pid) is None:
            raise Internal(f"cgroup {path}", "cannot be entered")
        self.inside.append(pid)

    def pids(self, path: str) -> Sequence[int]:
        assert path == HOME
        return self.inside


def cgroups(tree: Tree) -> Cgroups:
    return cast("Cgroups", cast("Any", tree))


async def test_a_cgroup_is_held_from_when_it_is_made(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    async with held(cgroups(tree), HOME, 60):
        assert tree.inside == []
        tree.made = True
        await until(lambda: tree.inside)
        assert start_ticks(tree.inside[0]) is not None
    assert start_ticks(tree.inside[0]) is None


async def test_what_fails_in_the_block_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of the block"):
        async with held(cgroups(Tree(tmp_path)), HOME, 60):
            raise ValueError("of the block")


async def test_the_whole_tree_is_moved(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.made = True
    script = "sh -c 'sleep 61 & sleep 62 & echo made; wait' & wait"
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", script, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        await bring_home(cgroups(tree), HOME, process.pid)
        assert tree.inside[0] == process.pid
        assert len(tree.inside) == len(set(tree.inside)) == 4
        await bring_home(cgroups(tree), HOME, process.pid)
        assert len(tree.inside) == 4
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        await process.wait()
    await bring_home(cgroups(tree), HOME, process.pid)  # it has ended: nobody is to be moved


async def test_no_cgroup_to_be_moved_into(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        with pytest.raises(Internal, match="cannot be entered"):
            await bring_home(cgroups(Tree(tmp_path)), HOME, process.pid)
    finally:
        process.kill()
        await process.wait()
