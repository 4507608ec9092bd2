"""Facts about the host: what its tools say of themselves."""

from pathlib import Path

import pytest

from sharedrt.drivers.hostinfo import (
    cni_version,
    engine_id,
    mount_type,
    storage_status,
    tool_versions,
)


def tool(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


async def test_tools_say_their_version(tmp_path: Path) -> None:
    good = tool(
        tmp_path / "good", "mkdir $XDG_RUNTIME_DIR/made; echo good version 1.8.1+ds; echo more"
    )
    odd = tool(tmp_path / "odd", "exit 1")
    found = await tool_versions([str(good), str(odd), str(tmp_path / "none")], tmp_path)
    assert found == {"good": "1.8.1+ds", "odd": "unknown"}
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo CNI protocol versions supported: 0.1.0, 0.4.0, 1.0.0 >&2", "1.0.0"),
        ("echo nothing of interest", "unknown"),
    ],
)
async def test_cni_plugins_say_what_they_speak(tmp_path: Path, script: str, version: str) -> None:
    assert await cni_version([tmp_path, tmp_path / "cni"]) == ""
    tool(tmp_path / "cni/bridge", script)
    assert await cni_version([tmp_path, tmp_path / "cni"]) == version


def test_an_engine_keeps_its_id(tmp_path: Path) -> None:
    made = engine_id(tmp_path)
    assert engine_id(tmp_path) == made
    (tmp_path / "other").mkdir()
    assert engine_id(tmp_path / "other") != made
    (tmp_path / "engine-id").write_text("")  # cut short by a crash
    assert engine_id(tmp_path) != made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine-id", "other"]


def test_the_file_system_below() -> None:
    assert mount_type(Path("/proc")) == "proc"
    assert dict(storage_status(Path("/proc")))["Backing Filesystem"] == "proc"
