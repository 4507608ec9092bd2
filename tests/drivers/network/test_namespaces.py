import asyncio
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from sharedrt.drivers.hostfs import HostFs
from sharedrt.drivers.network.namespaces import PinnedNamespaces
from sharedrt.model.faults import InvalidArgument

pytestmark = pytest.mark.real

THREE = frozenset({"net", "ipc", "uts"})


@pytest.fixture
async def root() -> AsyncIterator[Path]:
    folder = Path(mkdtemp(prefix="srt-ns-"))
    yield folder
    await HostFs().remove_tree(folder)


def inside(directory: Path, kinds: frozenset[str], *command: str) -> str:
    options = [f"--{kind}={directory / kind}" for kind in sorted(kinds)]
    done = subprocess.run(
        ("nsenter", *options, *command), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def mounts_below(root: Path, pid: int | str = "self") -> list[str]:
    table = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line for line in table if line.split()[4].startswith(f"{root}/")]


async def test_namespaces_are_new_named_and_set_up(root: Path) -> None:
    host_name = os.uname().nodename
    sysctls = {"kernel.msgmax": "4096", "net.ipv4.ip_unprivileged_port_start": "80"}
    pins = await PinnedNamespaces(root).create(
        root / "pod", THREE, hostname="web-0", sysctls=sysctls
    )
    assert pins == {kind: root / "pod" / kind for kind in THREE}
    assert inside(root / "pod", THREE, "hostname") == "web-0"
    assert "UP" in inside(root / "pod", THREE, "ip", "-o", "link", "show", "lo")
    for name, value in sysctls.items():
        assert inside(root / "pod", THREE, "sysctl", "-n", name) == value
    for kind in THREE:
        assert os.stat(root / "pod" / kind).st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino
    # Neither the daemon's other threads nor the host took anything of it.
    assert os.uname().nodename == host_name
    for task in os.listdir("/proc/self/task"):
        same = os.stat(f"/proc/self/task/{task}/ns/net").st_ino
        assert same == os.stat("/proc/self/ns/net").st_ino
    assert not [t for t in threading.enumerate() if t.name == "namespaces"]


async def test_create_replaces_and_remove_is_idempotent(root: Path) -> None:
    namespaces = PinnedNamespaces(root)
    await namespaces.create(root / "pod", THREE, hostname="a", sysctls={})
    first = os.stat(root / "pod/net").st_ino
    # Another daemon, after a crash of the first.
    await PinnedNamespaces(root).create(root / "pod", THREE, hostname="b", sysctls={})
    assert os.stat(root / "pod/net").st_ino != first
    assert len(mounts_below(root)) == 3
    for _ in range(2):
        await namespaces.remove(root / "pod")
    assert mounts_below(root) == []
    assert not (root / "pod").exists()


@pytest.fixture
def shared_mount() -> Iterator[tuple[Path, int]]:
    """A mount that propagates, and a process in another mount namespace that receives from it."""
    folder = Path(mkdtemp(prefix="srt-shared-"))
    subprocess.run(("mount", "-t", "tmpfs", "none", str(folder)), check=True)
    subprocess.run(("mount", "--make-shared", str(folder)), check=True)
    command = ("unshare", "-m", "--propagation", "unchanged", "cat")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.read(1)
        yield folder, process.pid
        process.stdin.close()
    asyncio.run(HostFs().remove_tree(folder))


async def test_a_pin_does_not_reach_other_mount_namespaces(
    shared_mount: tuple[Path, int],
) -> None:
    folder, pid = shared_mount
    namespaces = PinnedNamespaces(folder / "run")
    await namespaces.create(folder / "run/pod", THREE, hostname="", sysctls={})
    assert len(mounts_below(folder / "run")) == 3
    assert mounts_below(folder / "run", pid) == []
    await namespaces.remove(folder / "run/pod")


@pytest.mark.parametrize(
    "sysctls", [{"net.ipv4.no_such": "1"}, {"kernel.sem": "not a number"}, {"vm.swappiness": "1"}]
)
async def test_bad_sysctls_leave_nothing(root: Path, sysctls: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(sysctls))):
        await PinnedNamespaces(root).create(root / "pod", THREE, hostname="a", sysctls=sysctls)
    assert mounts_below(root) == []
    assert not (root / "pod").exists()


async def test_user_namespace(root: Path) -> None:
    kinds = THREE | {"user"}
    await PinnedNamespaces(root).create(
        root / "pod",
        kinds,
        hostname="web-0",
        sysctls={"net.ipv4.ip_unprivileged_port_start": "80", "kernel.msgmax": "4096"},
        user_mappings=[(0, 100000, 65536)],
        group_mappings=[(0, 200000, 65536)],
    )
    assert inside(root / "pod", kinds, "cat", "/proc/self/uid_map").split() == [
        "0",
        "100000",
        "65536",
    ]
    assert inside(root / "pod", kinds, "cat", "/proc/self/gid_map").split() == [
        "0",
        "200000",
        "65536",
    ]
    assert inside(root / "pod", kinds, "hostname") == "web-0"
    # The other namespaces belong to the user namespace: its root may administer them.
    assert inside(root / "pod", kinds, "hostname", "other") == ""
    assert inside(root / "pod", kinds, "sysctl", "-n", "kernel.msgmax") == "4096"
    assert "UP" in inside(root / "pod", kinds, "ip", "-o", "link", "show", "lo")


async def test_user_namespace_with_bad_mappings_leaves_nothing(root: Path) -> None:
    with pytest.raises(InvalidArgument, match="user mappings"):
        await PinnedNamespaces(root).create(
            root / "pod",
            frozenset({"user", "net"}),
            hostname="",
            sysctls={},
            user_mappings=[(0, 0, 10), (5, 0, 10)],
            group_mappings=[(0, 0, 10)],
        )
    assert mounts_below(root) == []


async def test_only_below_its_root(root: Path) -> None:
    with pytest.raises(InvalidArgument):
        await PinnedNamespaces(root).create(Path("/elsewhere"), THREE, hostname="", sysctls={})
