"""The README's two commands, as a newcomer runs them, with folders and names of a test's own.

Only pip's cache is shared with other runs: the virtualenv is made anew by the script.
"""

import asyncio
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real.daemon import DaemonUnderTest
from tests.real.leaks import look
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

SYSTEMD = Path("/run/systemd/system").is_dir()
DEPLOY = Path(__file__).parents[2] / "deploy"


class Deployed:
    """A place that deploy/up fills and deploy/down empties."""

    def __init__(self, *, systemd: bool = False) -> None:
        self.daemon = DaemonUnderTest()
        self.root = self.daemon.root
        self.program = self.root / "bin" / f"srt{self.daemon.number}"
        self.unit_file = Path("/etc/systemd/system", f"{self.program.name}.service")
        self._environment = {
            **os.environ,
            "SHAREDRT_PREFIX": str(self.root / "opt"),
            "SHAREDRT_CONFIG": str(self.daemon.config_path),
            "SHAREDRT_UNIT": self.program.name,
            "SHAREDRT_BIN": str(self.program.parent),
            "SHAREDRT_NO_SYSTEMD": "" if systemd else "1",
            "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip")),
        }

    async def run(self, *command: str | Path) -> str:
        """What it prints. Raises AssertionError when it fails."""
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        words = f"{out.decode(errors='replace')}\n--- stderr ---\n{err.decode(errors='replace')}"
        assert process.returncode == 0, f"{command}: {process.returncode}\n{words}"
        return out.decode()

    async def up(self, *arguments: str) -> str:
        return await self.run(DEPLOY / "up", *arguments)

    async def down(self, *arguments: str) -> str:
        return await self.run(DEPLOY / "down", *arguments)

    def has_unit(self) -> bool:
        return self.unit_file.exists()

    async def main_pid(self) -> int:
        """Of the unit; 0 when it does not run."""
        unit = self.program.name
        return int(await self.run("systemctl", "show", "--property=MainPID", "--value", unit))

    def pid(self) -> int:
        return int((self.root / "run" / "sharedrtd.pid").read_text())

    def traces(self) -> dict[str, frozenset[str]]:
        """Of all but the folder, which is the test's own."""
        found = look(self.daemon.marks).found()
        found.pop("folders", None)
        return found


@pytest_asyncio.fixture(loop_scope="module")
async def deployed() -> AsyncIterator[Deployed]:
    async with in_place(Deployed()) as place:
        yield place


@asynccontextmanager
async def in_place(place: Deployed) -> AsyncIterator[Deployed]:
    """Whatever happens, it is gone afterwards."""
    try:
        yield place
    finally:
        if place.daemon.config_path.exists():
            await place.down()
            await place.daemon.purge()
        else:
            shutil.rmtree(place.root)
        if place.has_unit():
            place.unit_file.unlink()
            await place.run("systemctl", "daemon-reload")


def ids(out: str, heading: str) -> set[str]:
    """The container ids of one listing of the demonstration."""
    listing = out.split(heading)[1].split("\n\n")[0]
    return set(re.findall(r"container ([0-9a-f]{12}) ", listing))


async def test_up_again_down_and_purge(deployed: Deployed) -> None:
    out = await deployed.up()
    over_cri, over_http = ids(out, "Over CRI"), ids(out, "Over HTTP")
    assert (len(over_cri), len(over_http)) == (1, 1), out
    assert over_cri.isdisjoint(over_http)
    assert all(id in out.split("administrator sees")[1] for id in over_cri | over_http)
    await deployed.run(deployed.root / "opt/venv/bin/python", "-m", "pip", "check")
    first = deployed.pid()

    again = await deployed.up()
    assert len(ids(again, "Over CRI")) == 1, "the demonstration is shown anew, not added to"
    assert deployed.pid() != first

    # A daemon that was killed has left its containers running: they are stopped all the same.
    os.kill(deployed.pid(), signal.SIGKILL)
    await deployed.down()
    assert not deployed.traces().get("processes")
    assert await deployed.down() == "stopped\n", "there was nothing to do any more"

    await deployed.up("--no-demo")
    listed = await deployed.run(deployed.program, "containers")
    assert "running" not in listed
    assert listed.count("exited") == 2, "data stays"

    await deployed.down("--purge")
    assert not deployed.traces()
    left = {str(path.relative_to(deployed.root)) for path in deployed.root.iterdir()}
    assert left <= {"bin", "certs.d", "cni"}, "what the test had made before"
    assert not list((deployed.root / "bin").iterdir())


@pytest.mark.skipif(not SYSTEMD, reason="systemd does not run this host")
async def test_a_service_of_systemd() -> None:
    async with in_place(Deployed(systemd=True)) as deployed:
        out = await deployed.up()
        assert (len(ids(out, "Over CRI")), len(ids(out, "Over HTTP"))) == (1, 1), out
        unit, first = deployed.program.name, await deployed.main_pid()
        assert first
        assert not (deployed.root / "run" / "sharedrtd.pid").exists(), "systemd knows it"
        before = await running(deployed)
        assert len(before) == 2

        await deployed.run("systemctl", "restart", unit)
        second = await deployed.main_pid()
        assert second not in (0, first)
        assert await running(deployed) == before, "containers and their conmons outlive it"

        os.kill(second, signal.SIGKILL)
        await until(lambda: not Path("/proc", str(second)).exists())
        # RestartSec: what is said of a unit meanwhile is that it is activating.
        await deployed.run("sh", "-c", f"until systemctl -q is-active {unit}; do sleep 0.1; done")
        assert await deployed.main_pid() not in (0, first, second)
        assert await running(deployed) == before

        assert (await deployed.down()).endswith("stopped\n")
        assert await deployed.main_pid() == 0
        assert not {kind for kind in deployed.traces() if kind == "processes"}
        state = await deployed.run("sh", "-c", f"systemctl is-enabled {unit} || true")
        assert state == "disabled\n"

        await deployed.down("--purge")
        assert not deployed.traces()
        assert not deployed.has_unit()


async def running(deployed: Deployed) -> set[str]:
    """Ids and processes of the running containers."""
    rows = (await deployed.run(deployed.program, "containers")).splitlines()
    return {
        f"{row.split()[1]} {re.findall('running +([0-9]+)', row)}"
        for row in rows
        if " running " in row
    }
