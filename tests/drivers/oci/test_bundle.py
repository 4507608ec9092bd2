"""A container's folders on the host."""

import os
import shutil
from pathlib import Path

import pytest

from sharedrt.drivers.oci.bundle import remove_bundle, write_bundle


def test_both_folders_go_and_may_be_gone(tmp_path: Path) -> None:
    bundle, exits = tmp_path / "b/x", tmp_path / "e/x"
    write_bundle(bundle, exits, {"ociVersion": "1.1.0"})
    remove_bundle(bundle, exits)
    remove_bundle(bundle, exits)
    assert not bundle.exists()
    assert not exits.exists()


def test_what_somebody_else_removes_meanwhile_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, exits = tmp_path / "b", tmp_path / "e"
    write_bundle(bundle, exits, {})
    (bundle / "execs").mkdir()
    (bundle / "execs/pid").touch()
    unlink = os.unlink
    taken: list[str] = []

    def late(name: str, *, dir_fd: int | None = None) -> None:
        if name == "pid" and not taken:
            taken.append(name)
            unlink(name, dir_fd=dir_fd)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(shutil.os, "unlink", late)  # type: ignore[attr-defined]
    remove_bundle(bundle, exits)
    assert taken
    assert not bundle.exists()
