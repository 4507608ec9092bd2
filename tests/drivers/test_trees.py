"""Trees are counted and removed whole, whatever their shape, and nothing else is."""

import os
from pathlib import Path

import pytest

from sharedrt.drivers import libc, trees


def _deep(root: Path, depth: int) -> None:
    """Folders far below PATH_MAX, made one step at a time."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d" * 20, dir_fd=folder)
        below = os.open("d" * 20, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.mkdir("leaf", dir_fd=folder)
    os.close(folder)


def test_usage_counts_hard_links_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "folder").mkdir()
    os.symlink("/usr", tmp_path / "folder" / "link")
    found = trees.usage(str(tmp_path))
    blocks = sum(
        os.lstat(tmp_path / name).st_blocks * 512 for name in ("", "a", "folder", "folder/link")
    )
    assert found == (blocks, 4, 100_000 + len("/usr"))


def test_deeper_than_any_path(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    _deep(root, 400)
    assert trees.usage(str(root)).inodes == 402
    trees.remove(str(root))
    assert not root.exists()


def test_remove_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside)
    (tmp_path / "alias").symlink_to(outside)
    trees.remove(str(root))
    trees.remove(str(tmp_path / "alias"))
    trees.remove(str(tmp_path / "never was"))
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["kept"]


@pytest.mark.real
def test_remove_crosses_no_mount(tmp_path: Path) -> None:
    point = tmp_path / "root" / "mounted"
    point.mkdir(parents=True)
    libc.mount("none", str(point), "tmpfs")
    try:
        (point / "kept").touch()
        with pytest.raises(OSError, match="busy"):
            trees.remove(str(tmp_path / "root"))
        assert os.listdir(point) == ["kept"]
    finally:
        libc.umount(str(point))
