"""Owners of tasks: nothing runs in the background without something that ends it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
log = structlog.get_logger(__name__)


class TaskHandle:
    """A hold on a background task: it can be ended, not awaited."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task = task

    def cancel(self) -> None:
        """End it soon; a task that has ended stays as it is."""
        self._task.cancel()


class TaskOwner:
    """Background tasks that live as long as a service."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> TaskHandle:
        """Start a task that nobody awaits.

        Its unexpected failure is logged with the traceback, and ends nothing else: one container's
        watcher must not take the others' along.
        """
        task = self.start(coroutine, name)
        task.add_done_callback(_log_failure)
        return TaskHandle(task)

    async def finish(self, coroutine: Coroutine[Any, Any, T], name: str) -> T:
        """Run to the end, even when the caller is cancelled while it waits.

        For steps that must not stop half way. The caller's cancellation is raised at once; the work
        goes on under this owner, and its failure is then logged.
        """
        task = self.start(coroutine, name)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def aclose(self) -> None:
        """Cancel what runs and wait for its end."""
        self._closed = True
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, coroutine: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
        """Start a task whose outcome the caller awaits."""
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"{self._name} is closed")
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._name}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _log_failure(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background task failed", task=task.get_name(), exc_info=error)
