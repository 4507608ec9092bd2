"""A real driver on real runc and crun, a busybox root file system, and a check that nothing is left behind."""

import asyncio
import gc
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sharedrt.drivers.cgroups import CgroupManager
from sharedrt.drivers.oci.runtime import OciDriver
from sharedrt.drivers.oci.settings import OciSettings
from sharedrt.model.drivers import BundleRequest, ProcessIdentity, ResolvedMount
from sharedrt.model.ids import ContainerId, ContainerKey, Namespace, new_id
from sharedrt.model.spec import ContainerSpec, ImageDefaults

APPLETS = (
    "cat chroot dd echo env false grep head hostname id kill ls mkdir mount nc ps pwd seq sh sleep stty tail tee "
    "touch true tty umount yes"
)


def make_rootfs(folder: Path) -> Path:
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    for applet in APPLETS.split():
        (folder / "bin" / applet).symlink_to("busybox")
    (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\nwww:x:1001:\naudio:x:29:web\n")
    (folder / "etc/noexec").write_text("#!/bin/sh\n")
    return folder


@dataclass
class World:
    """A driver with its folders, and helpers to make containers in it."""

    folder: Path
    handler: str
    settings: OciSettings
    cgroups: CgroupManager
    driver: OciDriver
    made: list[ContainerKey] = field(default_factory=list)

    def key(self, namespace: str = "test") -> ContainerKey:
        key = ContainerKey(Namespace(namespace), ContainerId(new_id()))
        self.made.append(key)
        return key

    def request(
        self,
        *args: str,
        key: ContainerKey | None = None,
        spec: ContainerSpec | None = None,
        mounts: tuple[ResolvedMount, ...] = (),
        image: ImageDefaults | None = None,
        log: bool = True,
        host_namespaces: frozenset[str] = frozenset(),
    ) -> BundleRequest:
        key = key or self.key()
        rootfs = self.folder / "rootfs" / key.id[:12]
        if not rootfs.exists():
            make_rootfs(rootfs)
        return BundleRequest(
            key=key,
            handler=self.handler,
            rootfs=rootfs,
            spec=spec or ContainerSpec(),
            image=image or ImageDefaults(cmd=args),
            hostname="testhost",
            cgroup_parent="",
            host_namespaces=host_namespaces,
            mounts=mounts,
            log_path=str(self.folder / f"{key.id}.log") if log else "",
        )

    async def run(
        self, *args: str, spec: ContainerSpec | None = None
    ) -> tuple[ContainerKey, ProcessIdentity]:
        request = self.request(*args, spec=spec)
        identity = await self.driver.create(request)
        await self.driver.start(request.key)
        return request.key, identity

    def log(self, key: ContainerKey) -> str:
        """The log's messages, without times and streams."""
        lines = (self.folder / f"{key.id}.log").read_text().splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines)

    def pid_count(self, key: ContainerKey) -> int:
        name = self.cgroups.container_name(self.settings.cgroup_parent, key)
        return len(self.cgroups.pids(name.path))

    def parent_cgroups(self) -> list[Path]:
        """Where the configured parent cgroup is there."""
        parents = [
            Path(f"{root}{self.settings.cgroup_parent}")
            for root in self.cgroups.hierarchies.roots()
        ]
        return [parent for parent in parents if parent.exists()]

    async def another_driver(self) -> OciDriver:
        """What a restarted daemon would have."""
        await self.driver.close()
        self.driver = await OciDriver.open(self.settings, self.cgroups)
        return self.driver


def left_over_processes(folder: Path) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in line:
                found.append(f"{name}: {line}")
    return found


def mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text()


def zombies() -> list[str]:
    found = []
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                found.append(child)
        except OSError:
            continue
    return found


def descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
    return found


@pytest.fixture
async def open_files() -> AsyncIterator[None]:
    """No descriptor more after the test than before."""
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    left = {fd: name for fd, name in descriptors().items() if before.get(fd) != name}
    assert left == {}, "descriptors left open"


async def until(condition: Callable[[], object], *, timeout_s: float = 10) -> None:
    """Wait for something that only looking can tell."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


Opener = Callable[[str], Awaitable[World]]


@pytest.fixture
async def open_world(tmp_path: Path, open_files: None) -> AsyncIterator[Opener]:
    worlds: list[World] = []

    async def open_one(handler: str) -> World:
        parent = f"/srt-oci-{secrets.token_hex(4)}"
        settings = OciSettings(
            tmp_path / "run", tmp_path / "state", default_handler=handler, cgroup_parent=parent
        )
        cgroups = CgroupManager("cgroupfs")
        driver = await OciDriver.open(settings, cgroups)
        if handler not in driver.handlers():
            await cgroups.remove(parent)
            why = [p.reason for p in driver.problems() if p.subject == handler]
            pytest.skip(f"{handler} cannot run here: {why}")
        world = World(tmp_path, handler, settings, cgroups, driver)
        worlds.append(world)
        return world

    yield open_one
    for world in worlds:
        for key in world.made:
            await world.driver.delete(key)
        await world.driver.close()
        assert await world.cgroups.remove(world.settings.cgroup_parent), "processes left in cgroups"
        world.cgroups.close()
    assert left_over_processes(tmp_path) == []
    assert zombies() == []
    assert str(tmp_path) not in mountinfo()
    bundles = tmp_path / "run" / "bundles" / "test"
    assert not bundles.exists() or list(bundles.iterdir()) == []


@pytest.fixture(params=["runc", "crun"])
async def world(request: pytest.FixtureRequest, open_world: Opener) -> World:
    """Each test runs with both runtimes."""
    handler: str = request.param
    return await open_world(handler)
