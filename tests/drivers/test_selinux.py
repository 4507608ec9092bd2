"""Labels as they are on disk. The kernel keeps them also where SELinux is off; only root may set them."""

import os
from pathlib import Path

import pytest

from sharedrt.drivers.selinux import relabel
from sharedrt.model.faults import InvalidArgument

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def label_of(path: Path) -> str:
    return os.getxattr(path, "security.selinux", follow_symlinks=False).decode().rstrip("\0")


@pytest.mark.real
def test_a_tree_and_no_more(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").touch()
    (tree / "link").symlink_to(outside)
    (tree / "folder-link").symlink_to(tmp_path)
    relabel(tree, LABEL, shared=False)
    for path in (tree, tree / "sub", tree / "sub" / "file", tree / "link"):
        assert label_of(path) == LABEL, path
    with pytest.raises(OSError, match="No data"):
        label_of(outside)
    relabel(tree / "sub" / "file", LABEL, shared=True)
    assert label_of(tree / "sub" / "file") == "system_u:object_r:container_file_t:s0"
    assert label_of(tree / "sub") == LABEL


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/var/lib"])
def test_never_the_hosts_own(path: str) -> None:
    with pytest.raises(InvalidArgument, match="not allowed"):
        relabel(Path(path), LABEL, shared=False)
