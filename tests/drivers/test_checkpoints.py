"""Checkpoint archives on disk, and hostile ones."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from sharedrt.drivers.checkpoints import TarCheckpoints, partial
from sharedrt.model.faults import InvalidArgument, NotFound, ResourceExhausted


@pytest.fixture
def archives() -> TarCheckpoints:
    return TarCheckpoints(max_bytes=1000)


def make(path: Path, *entries: tuple[str, bytes | str | None]) -> Path:
    """Bytes make a file, text a link, None a device."""
    with tarfile.open(path, "w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
                continue
            info.type = tarfile.SYMTYPE if content is not None else tarfile.CHRTYPE
            info.linkname = content or ""
            tar.addfile(info)
    return path


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


async def test_round_trip(tmp_path: Path, archives: TarCheckpoints) -> None:
    folder, target = tmp_path / "in", tmp_path / "x.tar"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "core-1.img").write_bytes(b"core")
    (folder / "config.dump").write_bytes(b"{}")
    async with archives.file(folder / "rootfs-diff.tar") as sink:
        await sink(b"ta")
        await sink(b"r")
    target.write_bytes(b"old")
    await archives.write(folder, target)
    assert os.stat(target).st_mode & 0o777 == 0o600
    assert not partial(target).exists()
    assert await archives.documents(target, ["config.dump"]) == {"config.dump": b"{}"}
    out = tmp_path / "out"
    await archives.extract(target, out, ["rootfs-diff.tar"], ["checkpoint"])
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == [
        "checkpoint",
        "checkpoint/core-1.img",
        "rootfs-diff.tar",
    ]
    assert (out / "rootfs-diff.tar").read_bytes() == b"tar"


async def test_only_what_is_asked_for_comes_out(tmp_path: Path, archives: TarCheckpoints) -> None:
    archive = make(
        tmp_path / "x.tar",
        ("../evil", b"x"),
        ("/etc/evil", b"x"),
        ("checkpoint/../../evil", b"x"),
        ("checkpoint/..", b"x"),
        ("checkpoint/link", "/etc/passwd"),
        ("checkpoint/device", None),
        ("checkpoint/sub/deep", b"x"),
        ("other/file", b"x"),
        ("./checkpoint/good", b"good"),
    )
    out = tmp_path / "out"
    out.mkdir()
    await archives.extract(archive, out, ["rootfs-diff.tar"], ["checkpoint"])
    assert files(tmp_path) == {archive, out / "checkpoint" / "good"}


async def test_bounds_and_nonsense(tmp_path: Path, archives: TarCheckpoints) -> None:
    big = make(tmp_path / "big.tar", ("checkpoint/a", bytes(600)), ("checkpoint/b", bytes(600)))
    with pytest.raises(ResourceExhausted, match="1000 bytes"):
        await archives.extract(big, tmp_path / "out", [], ["checkpoint"])
    with pytest.raises(InvalidArgument, match=r"config\.dump is missing"):
        await archives.documents(big, ["config.dump"])
    (tmp_path / "none.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(InvalidArgument, match=r"none\.tar"):
        await archives.documents(tmp_path / "none.tar", ["config.dump"])
    with pytest.raises(NotFound):
        await archives.documents(tmp_path / "missing.tar", ["config.dump"])


async def test_a_failed_write_leaves_the_old_one(tmp_path: Path, archives: TarCheckpoints) -> None:
    with pytest.raises(NotFound):
        await archives.write(tmp_path, tmp_path / "no" / "x.tar")
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    await archives.write(folder, tmp_path / "x.tar")
    with pytest.raises(Exception, match="directory"):
        await archives.write(folder, tmp_path / "taken")
    assert not partial(tmp_path / "taken").exists()
