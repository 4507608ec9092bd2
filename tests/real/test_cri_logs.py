"""CRI logs as they come out of real containers: fast, binary, rotated, without a line lost."""

import asyncio
import hashlib
import json
import subprocess
import tarfile
import time
from datetime import datetime
from pathlib import Path

import pytest

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import CriClient, cri_client
from tests.real.daemon import DaemonUnderTest
from tests.real.test_cri import ended, pod, secured
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


def records(path: Path) -> list[tuple[bytes, bytes, bytes]]:
    """(stream, tag, data) of each line of a log."""
    data = path.read_bytes()
    assert data == b"" or data.endswith(b"\n"), "the last line is whole"
    lines = data.split(b"\n")[:-1]
    parts = [line.split(b" ", 3) for line in lines]
    assert all(len(part) == 4 and part[2] in (b"F", b"P") for part in parts)
    return [(part[1], part[2], part[3]) for part in parts]


def rotate(path: Path, number: int) -> Path:
    """As the kubelet renames a log."""
    return path.rename(path.with_suffix(f".{number}"))


def size_of(path: str) -> int:
    return Path(path).stat().st_size


def stream_of(found: list[tuple[bytes, bytes, bytes]], stream: bytes) -> bytes:
    """What the process wrote: a full line had a newline that is not in its data."""
    return b"".join(
        data + (b"\n" if tag == b"F" else b"") for name, tag, data in found if name == stream
    )


async def test_rotation_at_full_speed_loses_no_line(cri: CriClient) -> None:
    async with pod(cri, "rotated") as (id, config):
        script = (
            "n=0; while [ ! -e /tmp/stop ]; do seq $((n*20000+1)) $((n*20000+20000));"
            " n=$((n+1)); done; echo last"
        )
        main = await cri.create(id, config, "main", ["sh", "-c", script], linux=secured())
        await cri.start(main)
        path = Path((await cri.status(main)).log_path)
        rotated = []
        for number in range(12):
            await asyncio.sleep(0.08)
            rotated.append(rotate(path, number))
            request = pb.ReopenContainerLogRequest(container_id=main)
            await cri.runtime.reopen_container_log(request)
        await cri.exec_sync(main, "touch", "/tmp/stop")
        await ended(cri, main)
        # A line may begin in one file and end in the next.
        parts = [stream_of(records(part), b"stdout") for part in (*rotated, path)]
        seen = b"".join(parts).splitlines()
    assert all(parts)
    assert seen[-1] == b"last"
    assert seen[:-1] == [str(number).encode() for number in range(1, len(seen))]


async def test_binary_output_and_partial_lines(cri: CriClient) -> None:
    script = (
        "head -c 3000000 /dev/urandom > /data; cat /data; sha256sum /data >&2;"
        " printf one; sleep 0.3; printf two; sleep 0.3; echo three"
    )
    async with pod(cri, "binary") as (id, config):
        main = await cri.create(id, config, "main", ["sh", "-c", script], linux=secured())
        await cri.start(main)
        status = await ended(cri, main)
        found = records(Path(status.log_path))
    told = stream_of(found, b"stderr").split()[0]
    text = stream_of(found, b"stdout")
    assert text.endswith(b"onetwothree\n")
    data = text.removesuffix(b"onetwothree\n")
    assert hashlib.sha256(data).hexdigest().encode() == told
    assert [(tag, data) for _, tag, data in found][-1] == (b"F", b"three")
    assert {tag for _, tag, _ in found} == {b"F", b"P"}


async def test_a_flood_is_written_at_the_monitors_own_speed(cri: CriClient) -> None:
    """The daemon's loop has no part in it: it answers meanwhile."""
    line = "x" * 99
    script = f"yes {line} | head -n 1000000"
    async with pod(cri, "flood") as (id, config):
        main = await cri.create(id, config, "main", ["sh", "-c", script], linux=secured())
        started = time.monotonic()
        await cri.start(main)
        slowest = 0.0

        async def over() -> bool:
            nonlocal slowest
            asked = time.monotonic()
            state = (await cri.status(main)).state
            slowest = max(slowest, time.monotonic() - asked)
            return bool(state == pb.ContainerState.CONTAINER_EXITED)

        await until(over, timeout_s=60)
        elapsed = time.monotonic() - started
        size = size_of((await cri.status(main)).log_path)
    speed = 100_000_000 / elapsed / 1e6
    assert size > 1_000_000 * 140
    # Far below what is measured on a quiet machine, since this one may have much else to do.
    assert speed > 8, f"{speed:.0f} MB/s"
    assert slowest < 1.0


# ---------------------------------------------------------------- beside conmon alone

FLOOD_LINES = 300_000
FLOOD = ["sh", "-c", f"yes {'x' * 99} | head -n {FLOOD_LINES}"]


class Bare:
    """A container that conmon and the OCI runtime run without a daemon, as podman has them do."""

    def __init__(self, folder: Path, archive: Path, runtime: str) -> None:
        self.folder, self.runtime = folder, runtime
        self.rootfs = folder / "rootfs"
        self.rootfs.mkdir()
        with tarfile.open(archive) as outer:
            layer = outer.extractfile("layer.tar")
            assert layer is not None
            unpack = ["tar", "-xC", str(self.rootfs)]
            subprocess.run(unpack, input=layer.read(), check=True)
        self._runs = 0

    def run(self) -> float:
        """How long the flood took, in seconds."""
        self._runs += 1
        name = f"bare{self._runs}-{self.folder.name}"
        bundle = self.folder / name
        bundle.mkdir()
        subprocess.run([self.runtime, "spec"], cwd=bundle, check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["process"] |= {"terminal": False, "args": FLOOD}
        config["root"] = {"path": str(self.rootfs)}
        (bundle / "config.json").write_text(json.dumps(config))
        root = ["--root", str(bundle / "state")]
        log = bundle / "log"
        subprocess.run(
            [
                which("conmon"), "--api-version", "1", "-c", name, "-u", name,
                "-r", self.runtime, *(f"--runtime-arg={word}" for word in root),
                "-b", str(bundle), "-p", str(bundle / "pidfile"), "--exit-dir", str(bundle),
                "--full-attach", "--no-sync-log", "-l", f"k8s-file:{log}",
            ],
            check=True,
        )  # fmt: skip
        wait_for(bundle / "pidfile")
        subprocess.run([self.runtime, *root, "start", name], check=True)
        wait_for(bundle / name)
        subprocess.run([self.runtime, *root, "delete", name], check=True)
        return flood_s(log)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.005)


def flood_s(log: Path) -> float:
    """From the first line to the last, by their own times."""
    with log.open("rb") as file:
        first = file.readline()
        file.seek(-400, 2)
        last = file.read().splitlines()[-1]
    assert log.stat().st_size > FLOOD_LINES * 140
    times = [datetime.fromisoformat(line.split()[0].decode()) for line in (first, last)]
    return (times[1] - times[0]).total_seconds()


async def test_as_fast_as_conmon_without_a_daemon(
    cri: CriClient, busybox_archive: Path, tmp_path: Path
) -> None:
    """One after the other, so that both have the same machine; slower each time would be slower."""
    bare = await asyncio.to_thread(Bare, tmp_path, busybox_archive, which("runc"))

    async def ours(number: int) -> float:
        main = await cri.create(id, config, f"flood{number}", FLOOD, linux=secured())
        await cri.start(main)
        return flood_s(Path((await ended(cri, main)).log_path))

    async with pod(cri, "ratio", handler="runc") as (id, config):
        pairs = [(await asyncio.to_thread(bare.run), await ours(number)) for number in range(3)]
    assert min(with_us / alone for alone, with_us in pairs) < 1.5, pairs


def which(program: str) -> str:
    found = subprocess.run(["which", program], capture_output=True, text=True, check=True)
    return found.stdout.strip()


async def test_a_flood_while_the_daemon_is_down_is_kept(daemon: DaemonUnderTest) -> None:
    """Its log goes on without us, and its end is known with the next daemon."""
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as cri:
        config = cri.pod_config("alone")
        id = await cri.run_pod(config)
        script = "until [ -e /tmp/go ]; do sleep 0.01; done; seq 100000; echo over; exit 5"
        main = await cri.create(id, config, "main", ["sh", "-c", script])
        await cri.start(main)
        path = Path((await cri.status(main)).log_path)
        command = ["sh", "-c", "(sleep 1; touch /tmp/go) >/dev/null 2>&1 & true"]
        assert (await cri.exec_sync(main, *command)).exit_code == 0
        assert records(path) == []
    await daemon.kill9()
    await until(lambda: b" stdout F over\n" in tail(path))
    await daemon.start()
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as cri:
        status = await ended(cri, main)
        assert (status.exit_code, status.reason) == (5, "Error")
        numbers = "".join(f"{number}\n" for number in range(1, 100_001))
        assert stream_of(records(path), b"stdout") == numbers.encode() + b"over\n"
        await cri.remove_pod(id)


def tail(path: Path) -> bytes:
    return path.read_bytes()[-100:]
