"""The whole door on a socket, over fake services, and a client for it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel

from sharedrt.edges.containerd import ContainerdDoor
from sharedrt.pb.codec import Codec
from tests.edges.containerd.fakes import FakeRuntime

IN_K8S = {"containerd-namespace": "k8s.io"}
IN_MOBY = {"containerd-namespace": "moby"}


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def here(runtime: FakeRuntime) -> Any:
    """The namespace k8s.io's services."""
    return runtime.within("k8s.io")  # type: ignore[arg-type]


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """In a short folder: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="srt-") as folder:
        yield Path(folder) / "door.sock"


@pytest.fixture
async def channel(runtime: Any, socket_path: Path) -> AsyncIterator[Channel]:
    async with (
        ContainerdDoor(runtime).listening(socket_path),
        Channel(path=str(socket_path), codec=Codec()) as channel,
    ):
        yield channel
