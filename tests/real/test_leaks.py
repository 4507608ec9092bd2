"""The look at what is left behind sees each kind of thing, so that the suite's check can fail."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.real.leaks import HostTraces, look

pytestmark = pytest.mark.real


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


@contextmanager
def folder(path: Path) -> Iterator[None]:
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()


@contextmanager
def made(make: tuple[str | Path, ...], unmake: tuple[str | Path, ...]) -> Iterator[None]:
    run(*make)
    try:
        yield
    finally:
        run(*unmake)


@contextmanager
def running(*command: str | Path) -> Iterator[None]:
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def test_each_kind_is_seen(tmp_path: Path) -> None:
    mark = f"srtx{uuid.uuid4().hex[:8]}"
    root = Path("/tmp") / mark
    cgroups = Path("/sys/fs/cgroup")
    cgroup = (cgroups / "pids" if (cgroups / "pids").exists() else cgroups) / mark
    pin = root / "net"
    say = "import time; print(1, flush=True); time.sleep(60)"
    with ExitStack() as stack:
        stack.enter_context(folder(root))
        stack.enter_context(folder(cgroup))
        stack.enter_context(folder(root / "m"))
        stack.enter_context(
            made(("mount", "-t", "tmpfs", "none", root / "m"), ("umount", root / "m"))
        )
        pin.touch()
        stack.callback(pin.unlink)
        stack.enter_context(made(("unshare", f"--net={pin}", "true"), ("umount", pin)))
        link = ("ip", "link", "add", mark[:14], "type", "veth", "peer", "name", f"{mark[:13]}p")
        stack.enter_context(made(link, ("ip", "link", "del", mark[:14])))
        table = ("nft", "add", "table", "inet", mark)
        stack.enter_context(made(table, ("nft", "delete", "table", "inet", mark)))
        stack.enter_context(running(sys.executable, "-c", say, mark))
        kinds = HostTraces.kinds()
        if Path("/run/systemd/system").is_dir():
            slice_ = f"{mark}.slice"
            stack.enter_context(made(("systemctl", "start", slice_), ("systemctl", "stop", slice_)))
        else:
            kinds -= {"units"}
        assert set(look((mark, mark[:13])).found()) == kinds
    # A process of a container whose conmon is gone has no mark in its command line, but our layers as its root.
    inside = "exec chroot /mnt /busybox sh -c 'echo; exec /busybox sleep 60'"
    script = f"mount -t tmpfs {mark} /mnt; cp /bin/busybox /mnt; {inside}"
    with running("unshare", "--mount", "sh", "-c", script):
        assert set(look((mark,)).found()) == {"processes"}
    assert look((mark, mark[:13])).found() == {}
