"""Bars on a terminal; nothing at all elsewhere."""

import contextlib
import os
import pty
import sys
from typing import Any

import pytest

from sharedrt.cli.progress import LayerBars, ReadBar


def step(phase: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    return {"id": "sha256:" + "a" * 64, "phase": phase, "current": current, "total": total}


def play(bars: LayerBars) -> None:
    bars.update({"id": "docker.io/x:1", "phase": "resolving", "current": 0, "total": 0})
    bars.update(step("pulling fs layer"))
    bars.update(step("downloading", 5 << 20, 10 << 20))
    bars.update(step("pull complete"))


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with open(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with LayerBars() as bars:
            play(bars)
        terminal.flush()
        # One read gives no more than one line discipline's buffer, 4 KiB.
        os.set_blocking(master, False)
        seen = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                seen += os.read(master, 1 << 16)
    os.close(master)
    assert b"aaaaaaaaaaaa pull complete" in seen
    assert b"10.0/10.0 MiB" in seen
    assert b"docker.io" not in seen


def test_elsewhere(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"abc")
    with LayerBars() as bars, path.open("rb") as file, ReadBar(bars, file, str(path)) as reader:
        play(bars)
        assert reader.read(2) + reader.read() == b"abc"
    assert capsys.readouterr() == ("", "")


def test_standard_input_has_no_size() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"abc")
    os.close(writing)
    with LayerBars() as bars, open(reading, "rb") as file, ReadBar(bars, file, "-") as reader:
        assert reader.read(10) == b"abc"
