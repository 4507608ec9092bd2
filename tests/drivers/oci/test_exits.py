"""Whether the OOM killer ended a container, where systemd removes its cgroup at the end."""

import asyncio
from pathlib import Path

import pytest

from sharedrt.drivers.oci.exits import ExitSource, wait_for_exit
from sharedrt.drivers.oci.procs import identify
from sharedrt.model.drivers import ExitStatus, ProcessIdentity


async def ended(folder: Path, kills: list[int | None], *, told: bool = False) -> ExitStatus:
    """The end of a process whose cgroup has these counts, one reading after the other."""
    process = await asyncio.create_subprocess_exec("sleep", "60")
    identity = identify(process.pid)
    assert identity is not None
    (folder / "exit").write_text("137")
    source = ExitSource(
        name="one",
        process=identity,
        conmon=ProcessIdentity(0, 0),
        exit_file=folder / "exit",
        oom_mark=folder / "oom",
        stop=lambda: None,
        on_end=lambda: None,
        oom_kills=lambda: kills.pop(0),
        oom_told=lambda: told,
    )
    process.kill()
    await process.wait()
    return await wait_for_exit(source)


async def test_the_count_is_read_at_once(tmp_path: Path) -> None:
    assert (await ended(tmp_path, [1, None])).oom_killed
    (tmp_path / "oom").touch()
    assert not (await ended(tmp_path, [0, None])).oom_killed


@pytest.mark.parametrize(("mark", "told"), [(False, False), (True, False), (False, True)])
async def test_a_cgroup_that_is_gone(tmp_path: Path, mark: bool, told: bool) -> None:
    if mark:
        (tmp_path / "oom").touch()
    status = await ended(tmp_path, [None], told=told)
    assert status.oom_killed is (mark or told)
    assert status.exit_code == 137
