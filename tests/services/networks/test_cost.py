"""What it costs a container to join a network: daemon and kernel time, with the row, and no process."""

import sys
import time
from pathlib import Path
from statistics import median

import pytest

from sharedrt.model.ids import DOCKER_NAMESPACE, parse_namespace
from sharedrt.model.records import PortMapping
from sharedrt.services.events import EventBus, NamespacedEvents
from sharedrt.services.networks import Networks, NewNetwork
from sharedrt.store.database import SqliteDatabase
from tests.fakes.name_servers import NameServersMemory
from tests.netlab import Lab
from tests.services.networks.test_service import SETTINGS, WEB

pytestmark = pytest.mark.real

ROUNDS = 40
JOIN_MAX_S = 0.015

_processes: list[str] = []
_hooked = False


_STARTS = ("os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "subprocess.Popen")


def _note_processes(event: str, _: object) -> None:
    if event in _STARTS:
        _processes.append(event)


def watch_processes() -> list[str]:
    """All that this process starts from now on. An audit hook cannot be taken back; there is one."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_note_processes)
        _hooked = True
    _processes.clear()
    return _processes


async def test_joining_is_cheap_and_starts_no_process(tmp_path: Path, lab: Lab) -> None:
    places = [await lab.new_netns(f"n{number}") for number in range(ROUNDS + 1)]
    async with await SqliteDatabase.open(tmp_path / "test.db") as database:
        store = database.within(parse_namespace(DOCKER_NAMESPACE))
        events = NamespacedEvents(store, EventBus())
        networks = Networks(store, database, lab.bridges, SETTINGS, events, NameServersMemory())
        await networks.recover(())
        await networks.create(NewNetwork("one"))
        # The first published port of all starts the relay, which serves all others.
        warm = await networks.connect("one", owner="w", netns=places.pop(), ports=[WEB])
        await networks.disconnect(warm.id)
        started = watch_processes()
        took, used = [], []
        for number, netns in enumerate(places):
            ports = [PortMapping("tcp", 80, 9000 + number), PortMapping("udp", 80, 9000 + number)]
            before, cpu = time.perf_counter(), time.process_time()
            await networks.connect("one", owner=f"c{number}", netns=netns, ports=ports)
            took.append(time.perf_counter() - before)
            used.append(time.process_time() - cpu)
        assert started == []
        print(f"join: median {median(took) * 1e3:.1f} ms, of that CPU {median(used) * 1e3:.1f} ms")
        # The wall's time has other programs' turns in it; what is ours is the CPU's.
        assert median(used) < JOIN_MAX_S
        await networks.disconnect(networks.endpoints_of("c0")[0].id)
        assert started == []
        for number in range(ROUNDS):
            await networks.release_owner(f"c{number}")
