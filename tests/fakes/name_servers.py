"""Name servers without sockets: tests ask through :meth:`NameServersMemory.ask`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sharedrt.model.drivers import NameAnswer, NameQuestion


class NameServersMemory:
    """Implements NameServers; who serves what can be looked at."""

    def __init__(self) -> None:
        self.serving: dict[str, Sequence[str]] = {}
        self._answers: dict[str, Callable[[str, NameQuestion], NameAnswer]] = {}

    async def serve(
        self,
        key: str,
        addresses: Sequence[str],
        answer: Callable[[str, NameQuestion], NameAnswer],
    ) -> None:
        self.serving[key] = tuple(addresses)
        self._answers[key] = answer

    async def serve_inside(
        self, key: str, netns: Path, answer: Callable[[str, NameQuestion], NameAnswer]
    ) -> tuple[int, int]:
        await self.serve(key, (str(netns),), answer)
        return 5353, 5354

    def serves(self, key: str) -> bool:
        return key in self.serving

    async def stop(self, key: str) -> None:
        self.serving.pop(key, None)
        self._answers.pop(key, None)

    def ask(self, key: str, source: str, name: str, kind: str = "A") -> NameAnswer:
        """A question from ``source`` at the server of ``key``."""
        return self._answers[key](source, NameQuestion(name, kind))
