"""A rig, and a registry that asks for nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.real.flaky_proxy import FlakyProxy, flaky_proxy
from tests.real.registry import RegistryUnderTest, running_registry
from tests.services.images.rig import Rig, running_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running_rig(tmp_path / "rig", stall_timeout_s=2.0) as running:
        yield running


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RegistryUnderTest]:
    async with running_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
async def proxy(registry: RegistryUnderTest) -> AsyncIterator[FlakyProxy]:
    async with flaky_proxy(registry.url) as running:
        yield running
