"""Fixtures of the services' tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.netlab import lab
from tests.services.rig import Machine, machine

__all__ = ["lab"]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(tmp_path) as made:
        yield made
