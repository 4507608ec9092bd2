"""Waiting for what nobody tells of."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Ask, and await if need be, until the answer is true; the answer. The time is for a busy machine."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"{condition.__qualname__} never came true"
        await asyncio.sleep(0.02)
