"""The Snapshotter contract on real overlayfs."""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sharedrt.drivers import libc, trees
from sharedrt.drivers.overlay import mounter
from sharedrt.drivers.overlay.snapshotter import OverlaySnapshotter
from sharedrt.model.faults import FailedPrecondition, Internal, InvalidArgument, NotFound

pytestmark = pytest.mark.real

MAPPING = ((0, 700_000, 65_536),)


def mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted(line.split(" ")[4] for line in lines)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    before = [point for point in mounts() if point.startswith(str(tmp_path))]
    yield tmp_path / "snapshots"
    after = [point for point in mounts() if point.startswith(str(tmp_path))]
    for point in reversed(after):
        libc.umount(point, libc.MNT_DETACH)
    assert after == before, "mounts are left"


@pytest.fixture
async def snapshots(root: Path) -> AsyncIterator[OverlaySnapshotter]:
    driver = OverlaySnapshotter(root)
    await driver.start()
    yield driver
    for directory in await driver.actives_on_disk():
        await driver.remove_active(directory)
    await driver.aclose()
    assert os.listdir(root / "tmp") == []


async def layer(driver: OverlaySnapshotter, name: str, **files: str) -> None:
    async with driver.prepare_layer(name) as (folder, commit):
        for file, text in files.items():
            (folder / file).write_text(text)
        await commit()


async def test_layers_are_there_once_committed(snapshots: OverlaySnapshotter, root: Path) -> None:
    async with snapshots.prepare_layer("one") as (folder, commit):
        (folder / "file").write_text("text")
        assert not await snapshots.has_layer("one")
        await commit()
    assert await snapshots.has_layer("one")
    assert (snapshots.layer_path("one") / "file").read_text() == "text"
    assert stat.S_IMODE(snapshots.layer_path("one").stat().st_mode) == 0o755

    async with snapshots.prepare_layer("two") as (folder, _):
        (folder / "file").touch()
    assert await snapshots.layers_on_disk() == ["one"]
    assert os.listdir(root / "tmp") == []

    await snapshots.remove_layer("one")
    await snapshots.remove_layer("one")
    assert await snapshots.layers_on_disk() == []


async def test_the_second_preparer_finds_it_committed(snapshots: OverlaySnapshotter) -> None:
    order = []

    async def prepare(name: str) -> None:
        async with snapshots.prepare_layer("shared") as (_, commit):
            there = await snapshots.has_layer("shared")
            order.append((name, there))
            await asyncio.sleep(0.01)
            await commit()

    await asyncio.gather(prepare("a"), prepare("b"))
    assert order == [("a", False), ("b", True)]


async def test_mount_shows_the_topmost(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base", both="base", low="base")
    await layer(snapshots, "top", both="top")
    rootfs = await snapshots.mount("ctr", ["top", "base"])
    assert (rootfs / "both").read_text() == "top"
    assert (rootfs / "low").read_text() == "base"
    (rootfs / "low").write_text("changed")
    (rootfs / "both").unlink()
    assert (snapshots.layer_path("base") / "low").read_text() == "base"
    assert (snapshots.upper_path("ctr") / "low").read_text() == "changed"
    whiteout = os.lstat(snapshots.upper_path("ctr") / "both")
    assert stat.S_ISCHR(whiteout.st_mode)

    before = mounts()
    assert await snapshots.mount("ctr", ["top", "base"]) == rootfs
    assert mounts() == before

    await snapshots.unmount("ctr")
    await snapshots.unmount("ctr")
    assert os.listdir(rootfs) == []
    await snapshots.mount("ctr", ["top", "base"])
    assert (rootfs / "low").read_text() == "changed"


async def test_no_layers(snapshots: OverlaySnapshotter) -> None:
    rootfs = await snapshots.mount("scratch", [])
    (rootfs / "new").touch()
    assert os.listdir(snapshots.upper_path("scratch")) == ["new"]


async def test_readonly(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base", file="text")
    rootfs = await snapshots.mount("ctr", ["base"], readonly=True)
    assert (rootfs / "file").read_text() == "text"
    with pytest.raises(OSError, match="Read-only"):
        (rootfs / "new").touch()


@pytest.mark.parametrize("count", [130, 499])
async def test_many_layers(snapshots: OverlaySnapshotter, count: int) -> None:
    names = [f"{number:064d}" for number in range(count)]
    for name in names:
        folder = snapshots.layer_path(name)
        folder.mkdir(parents=True)
        (folder / name[-3:]).touch()
        (folder / "top").write_text(name)
    rootfs = await snapshots.mount("ctr", names)
    assert len(os.listdir(rootfs)) == count + 1
    assert (rootfs / "top").read_text() == names[0]


async def test_too_many_layers(snapshots: OverlaySnapshotter) -> None:
    with pytest.raises(InvalidArgument, match="500"):
        await snapshots.mount("ctr", ["one"] * 500)


@pytest.mark.parametrize("count", [2, 130])
def test_kernels_without_layer_by_layer(root: Path, count: int) -> None:
    """mount(2)'s one page of options, with names that need escapes."""
    lowers = []
    for number in range(count):
        folder = root / f"with:colon,comma {number:040d}"
        folder.mkdir(parents=True)
        (folder / str(number)).touch()
        lowers.append(str(folder))
    upper, work, target = root / "up,per", root / "wo:rk", root / "target"
    for folder in (upper, work, target):
        folder.mkdir()
    mounter.mount_by_string(str(target), lowers, str(upper), str(work), readonly=False, context="")
    try:
        assert len(os.listdir(target)) == count
        (target / "new").touch()
        assert os.listdir(upper) == ["new"]
    finally:
        libc.umount(str(target))


async def test_paths_longer_than_an_option(tmp_path: Path, root: Path) -> None:
    long = root / ("x" * 200) / ("y" * 100)
    driver = OverlaySnapshotter(long)
    await driver.start()
    await layer(driver, "base", file="text")
    rootfs = await driver.mount("ctr", ["base"])
    assert (rootfs / "file").read_text() == "text"
    await driver.remove_active("ctr")
    await driver.aclose()


async def test_an_opaque_root_hides_the_layers_below(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base", low="")
    await layer(snapshots, "fresh", high="")
    os.setxattr(snapshots.layer_path("fresh"), "trusted.overlay.opaque", b"y")
    await layer(snapshots, "top", top="")
    rootfs = await snapshots.mount("ctr", ["top", "fresh", "base"])
    assert sorted(os.listdir(rootfs)) == ["high", "top"]


async def test_the_root_has_the_top_layers_owner_and_mode(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base")
    snapshots.layer_path("base").chmod(0o1777)
    os.chown(snapshots.layer_path("base"), 5, 6)
    info = (await snapshots.mount("ctr", ["base"])).stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o1777, 5, 6)


async def test_idmapped(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base", owned="text")
    os.chown(snapshots.layer_path("base") / "owned", 33, 44)
    await layer(snapshots, "top", mine="text")
    rootfs = await snapshots.mount(
        "ctr", ["top", "base"], uid_mappings=MAPPING, gid_mappings=MAPPING
    )
    info = (rootfs / "owned").stat()
    assert (info.st_uid, info.st_gid) == (700_033, 700_044)
    assert rootfs.stat().st_uid == 700_000
    # As root of the container: it owns what root owned, and nothing beyond the mapping.
    script = "import os; os.setgroups([]); os.setgid(700000); os.setuid(700000); open('mine', 'a').write('!')"
    process = await asyncio.create_subprocess_exec("python3", "-c", script, cwd=rootfs)
    assert await process.wait() == 0
    assert (snapshots.upper_path("ctr") / "mine").read_text() == "text!"
    assert (snapshots.upper_path("ctr") / "mine").stat().st_uid == 700_000
    assert (snapshots.layer_path("base") / "owned").stat().st_uid == 33
    assert [point for point in mounts() if "idmap-" in point] == []


async def test_idmapped_binds(snapshots: OverlaySnapshotter, tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "inner").write_text("text")
    file.write_text("text")
    os.chown(file, 5, 6)
    targets = [tmp_path / "targets" / "0", tmp_path / "targets" / "1"]
    try:
        for _ in range(2):
            await snapshots.bind_idmapped(
                list(zip((folder, file), targets, strict=True)), MAPPING, MAPPING
            )
        assert (targets[0] / "inner").stat().st_uid == 700_000
        assert (targets[1].stat().st_uid, targets[1].stat().st_gid) == (700_005, 700_006)
        assert file.stat().st_uid == 5
        with pytest.raises(NotFound, match="absent"):
            await snapshots.bind_idmapped(
                [(tmp_path / "absent", tmp_path / "targets" / "2")], MAPPING, MAPPING
            )
        with pytest.raises(FailedPrecondition, match="proc"):
            await snapshots.bind_idmapped(
                [(Path("/proc/sys"), tmp_path / "targets" / "3")], MAPPING, MAPPING
            )
    finally:
        for target in targets:
            libc.umount(str(target), libc.MNT_DETACH)


async def test_idmapping_that_the_kernel_refuses(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base")
    with pytest.raises(Internal):
        await snapshots.mount("ctr", ["base"], uid_mappings=((0, 5, 0),), gid_mappings=MAPPING)
    assert await snapshots.mount("ctr", ["base"]) is not None


async def test_refusals(snapshots: OverlaySnapshotter) -> None:
    with pytest.raises(NotFound, match="absent"):
        await snapshots.mount("ctr", ["absent"])
    for name in ("", ".", "..", "a/b", "a\0b"):
        with pytest.raises(InvalidArgument):
            await snapshots.has_layer(name)
        with pytest.raises(InvalidArgument):
            await snapshots.remove_active(name)
    await layer(snapshots, "base")
    with pytest.raises(FailedPrecondition, match="SELinux"):
        await snapshots.mount("ctr", ["base"], selinux_label="system_u:object_r:x_t:s0")
    with pytest.raises(NotFound):
        await snapshots.usage("absent")
    assert await snapshots.actives_on_disk() == []


async def test_remove_active_while_busy(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base", file="text")
    rootfs = await snapshots.mount("ctr", ["base"])
    with (rootfs / "file").open():
        await snapshots.remove_active("ctr")
        assert await snapshots.actives_on_disk() == []
        assert [point for point in mounts() if point == str(rootfs)] == []
    await snapshots.remove_active("ctr")


async def test_usage(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base", file="x" * 500_000)
    rootfs = await snapshots.mount("ctr", ["base"])
    empty = await snapshots.usage("ctr")
    (rootfs / "new").write_bytes(b"x" * 1_000_000)
    os.sync()
    used = await snapshots.usage("ctr")
    assert used.inodes == empty.inodes + 1
    assert 1_000_000 <= used.size_bytes - empty.size_bytes < 1_100_000


async def test_start_clears_what_a_killed_daemon_left(root: Path) -> None:
    first = OverlaySnapshotter(root)
    await first.start()
    await layer(first, "base", file="text")
    rootfs = await first.mount("ctr", ["base"])
    half = root / "tmp" / "layer-0123"
    (half / "fs" / "folder").mkdir(parents=True)
    mapped = root / "tmp" / "idmap-0123" / "0"
    mapped.mkdir(parents=True)
    libc.mount(str(first.layer_path("base")), str(mapped), "none", libc.MS_BIND)
    await first.aclose()

    second = OverlaySnapshotter(root)
    await second.start()
    await asyncio.sleep(0.3)
    assert os.listdir(root / "tmp") == []
    assert (second.layer_path("base") / "file").read_text() == "text"
    assert (rootfs / "file").read_text() == "text"
    await second.remove_active("ctr")
    await second.aclose()


async def test_a_cancelled_mount_leaves_nothing_half_done(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base", file="text")
    for delay_s in (0, 0.0005, 0.001, 0.002):
        task = asyncio.get_running_loop().create_task(snapshots.mount("ctr", ["base"]))
        await asyncio.sleep(delay_s)
        task.cancel()
        await asyncio.wait([task])
        await snapshots.remove_active("ctr")
        assert [
            point for point in mounts() if point.startswith(str(snapshots.layer_path("x")))
        ] == []
    assert await snapshots.actives_on_disk() == []


async def test_a_hundred_mounts_at_once(snapshots: OverlaySnapshotter) -> None:
    await layer(snapshots, "base", file="text")
    names = [f"ctr-{number}" for number in range(105)]
    paths = await asyncio.gather(*(snapshots.mount(name, ["base"]) for name in names))
    assert all((path / "file").read_text() == "text" for path in paths)
    await asyncio.gather(*(snapshots.remove_active(name) for name in names))
    assert await snapshots.actives_on_disk() == []


async def test_nobody_waits_for_the_removal_of_big_trees(
    snapshots: OverlaySnapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await layer(snapshots, "base", file="text")
    for name in ("one", "two", "three"):
        await snapshots.mount(name, ["base"])
    removed, begun = threading.Event(), list[str]()
    remove = trees.remove

    def slowly(path: str) -> None:
        begun.append(path)
        removed.wait()
        remove(path)

    monkeypatch.setattr(trees, "remove", slowly)
    async with asyncio.TaskGroup() as group:
        for name in ("one", "two"):
            group.create_task(snapshots.remove_active(name))
        try:
            async with asyncio.timeout(60):
                while len(begun) < 2:  # noqa: ASYNC110 - threads' doing
                    await asyncio.sleep(0.01)
                await layer(snapshots, "more", file="text")
                assert (await snapshots.usage("three")).inodes == 1
                await snapshots.mount("four", ["more", "base"])
        finally:
            removed.set()
    assert await snapshots.has_layer("more")
    assert await snapshots.actives_on_disk() == ["four", "three"]
