"""Builds that end before their time: the client leaves, the daemon is killed. Nothing of them is left."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.real.building import build, output, write
from tests.real.clients import CriClient, DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.owned import listed, unowned

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

_SLOW = """FROM busybox AS other
RUN --mount=type=cache,target=/c,sharing=locked --mount=target=/ctx echo other begins; sleep 100
FROM busybox
ENV STEP=done
RUN echo done >/first
COPY big /big
RUN --mount=target=/ctx --mount=type=tmpfs,target=/t echo now it runs; sleep 100
COPY --from=other / /
"""


@contextlib.asynccontextmanager
async def slow_build(
    daemon: DaemonUnderTest, docker: DockerClient, folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A CLI whose build hangs in two RUNs."""
    write(folder, {"Dockerfile": _SLOW, "big": "b" * 300_000})
    process = await asyncio.create_subprocess_exec(
        *("docker", "build", "-t", "never", str(folder)),
        env={**daemon.environment, "DOCKER_BUILDKIT": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(40):
            while _hanging(daemon) < 2 or len((await docker.get("/containers/json"))[1]) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _hanging(daemon: DaemonUnderTest) -> int:
    """How many of the two RUNs that hang have begun."""
    configs = (daemon.root / "run" / "oci").glob("bundles/*/*/config.json")
    return sum("sleep 100" in path.read_text() for path in configs)


async def _pid(docker: DockerClient, id: str) -> int:
    return int((await docker.get(f"/containers/{id}/json"))[1]["State"]["Pid"])


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def _until(check: object) -> None:
    assert callable(check)
    async with asyncio.timeout(40):
        while not check():  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.05)


def _mounts(daemon: DaemonUnderTest) -> list[str]:
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in table if str(daemon.root / "run" / "builds") in line]


def _left(daemon: DaemonUnderTest) -> list[Path]:
    """Folders of builds, on disk and in memory."""
    found: list[Path] = []
    for pattern in ("state/builds/*/*", "run/builds/*/*", "state/snapshots/active/*@build-*"):
        found += daemon.root.glob(pattern)
    return found


async def _nothing_is_left(daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient) -> None:
    await _until(lambda: not _left(daemon))
    assert (await docker.get("/containers/json", all="1"))[1] == []
    assert unowned(daemon, await listed(cri, docker)) == []
    assert not _mounts(daemon)
    assert not list((daemon.root / "state" / "content").glob("ingest/*"))


async def test_a_client_that_leaves_ends_its_build(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient, tmp_path: Path
) -> None:
    async with slow_build(daemon, docker, tmp_path) as client:
        assert len(_left(daemon)) >= 2
        client.send_signal(signal.SIGINT)
        await client.wait()
        await _nothing_is_left(daemon, cri, docker)
    images = (await docker.get("/images/json"))[1]
    assert all("never" not in str(image["RepoTags"]) for image in images)
    # What was done already is of use to the next one.
    text = _SLOW.replace("sleep 100", "true")
    again = await build(daemon, tmp_path, text, "-t", "again")
    assert again.stdout.count("Using cache") == 3
    assert await output(daemon, "again", "cat", "/first") == "done\n"


async def test_a_killed_daemon_leaves_nothing_of_a_build(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient, tmp_path: Path
) -> None:
    async with slow_build(daemon, docker, tmp_path):
        pids = [await _pid(docker, row["Id"]) for row in (await docker.get("/containers/json"))[1]]
        await daemon.kill9()
        assert _left(daemon)
        await daemon.start()
        await _nothing_is_left(daemon, cri, docker)
        assert len(pids) == 2
        assert not [pid for pid in pids if _runs(pid)]
    done = await build(daemon, tmp_path, _SLOW.replace("sleep 100", "true"), "-q", "-t", "after")
    assert done.stdout.startswith("sha256:")


async def test_a_stopped_daemon_ends_builds(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient, tmp_path: Path
) -> None:
    async with slow_build(daemon, docker, tmp_path) as client:
        assert await daemon.stop() == 0
        await client.wait()
        assert client.returncode != 0
        await daemon.start()
        await _nothing_is_left(daemon, cri, docker)
