"""Fixtures over a real daemon. A module shares one; the leak check comes after its purge."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real.clients import CriClient, DockerClient, cri_client, docker_client
from tests.real.daemon import DaemonUnderTest
from tests.real.leaks import look

_MAKE_IMAGE = Path(__file__).parents[2] / "deploy" / "make_image.py"


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image that deploy/up imports, as a ``docker save`` archive."""
    return make_busybox(tmp_path_factory.mktemp("images") / "busybox.tar")


def make_busybox(path: Path) -> Path:
    """The archive at ``path``."""
    command = [sys.executable, str(_MAKE_IMAGE), str(path), "docker.io/library/busybox:latest"]
    subprocess.run(command, check=True)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def daemon(busybox_archive: Path) -> AsyncIterator[DaemonUnderTest]:
    """A running daemon whose two namespaces have the busybox image. Nothing of it may be left."""
    daemon = DaemonUnderTest()
    try:
        await daemon.start()
        for namespace in ("k8s.io", "moby"):
            await daemon.cli("-n", namespace, "images", "import", str(busybox_archive))
        yield daemon
    finally:
        await daemon.purge()
    left = look(daemon.marks).found()
    assert not left, f"left behind: {left}"


@pytest_asyncio.fixture(loop_scope="module")
async def cri(daemon: DaemonUnderTest) -> AsyncIterator[CriClient]:
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def docker(daemon: DaemonUnderTest) -> AsyncIterator[DockerClient]:
    async with docker_client(daemon.socket("docker")) as client:
        yield client
