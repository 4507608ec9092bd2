"""A storage with one image in it, to be served by registries of all kinds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharedrt.drivers.content import FileContentStore
from tests.real.oci_images import MadeImage, layer_tar, publish
from tests.real.registry import RegistryUnderTest, running_registry

MADE = MadeImage([layer_tar({"file": b"data" * 50_000})])


@pytest.fixture
async def open_registry(tmp_path: Path) -> AsyncIterator[RegistryUnderTest]:
    """It asks for nothing, and has ``app:1`` and ``team/deep/app:1``."""
    async with running_registry(tmp_path / "open") as running:
        for repository in ("app", "team/deep/app"):
            await publish(running.url, repository, "1", MADE)
        yield running


@pytest.fixture
def content(tmp_path: Path) -> FileContentStore:
    return FileContentStore(tmp_path / "content")
