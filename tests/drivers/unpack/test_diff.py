"""A container's changes as a layer, and back again; compared with GNU tar and umoci."""

import hashlib
import io
import os
import socket
import tarfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from sharedrt.drivers.overlay.snapshotter import OverlaySnapshotter
from sharedrt.drivers.unpack.unpacker import ChrootUnpacker
from sharedrt.model.faults import InvalidArgument, NotFound
from tests.drivers.unpack.test_apply import (
    TAR,
    archive,
    folder,
    is_opaque,
    is_whiteout,
    member,
    run,
)
from tests.wire.tar.archives import decode, gnu_tar

pytestmark = pytest.mark.real


@pytest.fixture
async def unpacker() -> AsyncIterator[ChrootUnpacker]:
    driver = ChrootUnpacker()
    yield driver
    await driver.aclose()


async def diff(
    unpacker: ChrootUnpacker,
    upper: Path,
    uid_mappings: Sequence[tuple[int, int, int]] = (),
    gid_mappings: Sequence[tuple[int, int, int]] = (),
) -> bytes:
    pieces: list[bytes] = []

    async def sink(data: bytes) -> None:
        pieces.append(data)

    await unpacker.diff(upper, sink, uid_mappings=uid_mappings, gid_mappings=gid_mappings)
    return b"".join(pieces)


def snapshot_of(root: Path) -> dict[str, object]:
    """All that counts of a tree."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        name = str(path.relative_to(root))
        data: object = None
        if path.is_symlink():
            data = os.readlink(path)
        elif path.is_file():
            data = hashlib.sha256(path.read_bytes()).hexdigest()
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if not key.startswith("trusted.overlay.")
        }
        found[name] = (
            info.st_mode,
            info.st_uid,
            info.st_gid,
            info.st_rdev,
            info.st_mtime_ns if not path.is_dir() else 0,
            info.st_nlink if path.is_file() else 0,
            data,
            attributes,
        )
    return found


def make_tree(root: Path) -> None:
    """One of each."""
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "dir" / "file").write_bytes(os.urandom(70_000))
    os.chown(root / "dir" / "file", 1000, 70_000)
    (root / "dir" / "file").chmod(0o4750)
    os.setxattr(root / "dir" / "file", "user.note", b"\0\n=binary")
    os.link(root / "dir" / "file", root / "also")
    os.symlink("dir/file", root / "link")
    os.chown(root / "link", 5, 6, follow_symlinks=False)
    os.mkfifo(root / "pipe")
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    (root / "empty").touch()
    (root / ("long" * 40)).write_bytes(b"x")
    os.utime(root / "empty", ns=(1, 1_234_567_890_123_456_789))
    with (root / "sparse").open("wb") as file:
        file.truncate(3_000_000)


async def test_there_and_back(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    copy.mkdir()
    make_tree(source)
    with socket.socket(socket.AF_UNIX) as left_out:
        left_out.bind(str(source / "socket"))
    tar = await diff(unpacker, source)
    assert tar == await diff(unpacker, source), "not reproducible"
    (source / "socket").unlink()
    (tmp_path / "blob").write_bytes(tar)
    await unpacker.apply(tmp_path / "blob", TAR, copy)
    assert snapshot_of(copy) == snapshot_of(source)
    names = [entry.name for entry, _ in decode(tar)]
    assert names == sorted(names, key=lambda name: name.rstrip(b"/").split(b"/"))


async def test_unpacks_as_gnu_tar_does(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    source, ours, theirs = tmp_path / "source", tmp_path / "ours", tmp_path / "theirs"
    for path in (source, ours, theirs):
        path.mkdir()
    make_tree(source)
    (tmp_path / "blob").write_bytes(gnu_tar(source, "--format=pax", "--xattrs", "--sparse"))
    await unpacker.apply(tmp_path / "blob", TAR, ours)
    await run(
        "tar", "-C", str(theirs), "--numeric-owner", "--xattrs", "-xpf", str(tmp_path / "blob")
    )
    assert snapshot_of(ours) == snapshot_of(theirs) == snapshot_of(source)


async def test_gnu_tar_reads_our_diff(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    source, theirs = tmp_path / "source", tmp_path / "theirs"
    source.mkdir()
    theirs.mkdir()
    make_tree(source)
    (tmp_path / "blob").write_bytes(await diff(unpacker, source))
    await run(
        "tar", "-C", str(theirs), "--numeric-owner", "--xattrs", "-xpf", str(tmp_path / "blob")
    )
    assert snapshot_of(theirs) == snapshot_of(source)


async def test_umoci_unpacks_our_layers_as_we_do(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    """Whiteouts over a base layer: umoci applies them, overlayfs shows them."""
    base, layout, bundle = tmp_path / "base", tmp_path / "layout", tmp_path / "bundle"
    base.mkdir()
    make_tree(base)
    (base / "dir" / "deleted").write_text("x")
    (base / "replaced").mkdir()
    (base / "replaced" / "hidden").write_text("x")
    snapshots = OverlaySnapshotter(tmp_path / "snapshots")
    await snapshots.start()
    (tmp_path / "base.tar").write_bytes(gnu_tar(base, "--format=pax", "--xattrs"))
    async with snapshots.prepare_layer("base") as (path, commit):
        await unpacker.apply(tmp_path / "base.tar", TAR, path)
        await commit()
    rootfs = await snapshots.mount("ctr", ["base"])
    (rootfs / "dir" / "deleted").unlink()
    await run("rm", "-r", str(rootfs / "replaced"))
    (rootfs / "replaced").mkdir()
    (rootfs / "replaced" / "new").write_text("new")
    (rootfs / "dir" / "sub" / "new").write_text("new")
    (rootfs / "empty").write_text("changed")
    (rootfs / "pipe").unlink()

    layer = await diff(unpacker, snapshots.upper_path("ctr"))
    names = {entry.name for entry, _ in decode(layer)}
    assert {b"dir/.wh.deleted", b".wh.pipe", b"replaced/.wh..wh..opq", b"replaced/new"} <= names
    assert not [name for entry, _ in decode(layer) for name in entry.xattrs if b"overlay" in name]

    (tmp_path / "diff.tar").write_bytes(layer)
    async with snapshots.prepare_layer("diff") as (path, commit):
        await unpacker.apply(tmp_path / "diff.tar", TAR, path)
        assert is_whiteout(path / "pipe")
        assert is_opaque(path / "replaced")
        await commit()
    again = await snapshots.mount("again", ["diff", "base"])
    assert snapshot_of(again) == snapshot_of(rootfs)

    await run("umoci", "init", "--layout", str(layout))
    await run("umoci", "new", "--image", f"{layout}:latest")
    for tar in ("base.tar", "diff.tar"):
        await run("umoci", "raw", "add-layer", "--image", f"{layout}:latest", str(tmp_path / tar))
    await run("umoci", "unpack", "--image", f"{layout}:latest", str(bundle))
    theirs = snapshot_of(bundle / "rootfs")
    ours = snapshot_of(again)
    assert theirs.keys() == ours.keys()
    for name, facts in ours.items():
        assert facts == theirs[name], name

    for directory in ("ctr", "again"):
        await snapshots.remove_active(directory)
    await snapshots.aclose()


async def test_ids_of_a_user_namespace(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    os.chown(upper, 700_000, 700_000)
    (upper / "file").touch()
    os.chown(upper / "file", 700_033, 700_000)
    mapping = [(0, 700_000, 65_536)]
    tar = await diff(unpacker, upper, uid_mappings=mapping, gid_mappings=mapping)
    assert [(e.name, e.uid, e.gid) for e, _ in decode(tar)] == [
        (b"./", 0, 0),
        (b"file", 33, 0),
    ] or [(e.name, e.uid, e.gid) for e, _ in decode(tar)] == [(b"file", 33, 0)]
    (upper / "stranger").touch()
    with pytest.raises(InvalidArgument, match="mapping"):
        await diff(unpacker, upper, uid_mappings=mapping, gid_mappings=mapping)


async def test_an_empty_folder_and_none(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    assert await diff(unpacker, tmp_path / "upper") == bytes(1024)
    with pytest.raises(NotFound):
        await diff(unpacker, tmp_path / "absent")


async def test_a_sink_that_fails_ends_the_worker(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper" / "big").write_bytes(bytes(20 << 20))

    async def sink(data: bytes) -> None:
        raise OSError("client is gone")

    with pytest.raises(OSError, match="client is gone"):
        await unpacker.diff(tmp_path / "upper", sink)
    assert len(await diff(unpacker, tmp_path / "upper")) > 20 << 20


def test_helpers_make_what_they_say() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(folder("d"), member("f", b"x")))) as opened:
        assert opened.getnames() == ["d", "f"]
