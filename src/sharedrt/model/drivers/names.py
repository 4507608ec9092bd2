"""Name servers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NameQuestion:
    """What a container wants to know: ``name`` in lower case, ``kind`` ``A``, ``AAAA``, ``PTR``, ``ANY`` or empty for
    any other type of record."""

    name: str
    kind: str


class NameVerdict(StrEnum):
    """What is to become of a question."""

    ANSWERED = "answered"
    """With what the answer holds; nothing of that type, when it holds nothing."""
    UNKNOWN = "unknown"
    """There is no such name."""
    FAILED = "failed"
    REFUSED = "refused"
    """Who asks has no business here."""
    FORWARD = "forward"


@dataclass(frozen=True, slots=True)
class NameAnswer:
    verdict: NameVerdict
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """For ``PTR``."""
    servers: tuple[str, ...] = ()
    """Where to forward to; empty: the host's own resolvers."""
    otherwise: NameVerdict = NameVerdict.FAILED
    """The verdict when none of the servers answers."""


class NameServers(Protocol):
    """DNS servers on addresses of this host, one for each network (UDP and TCP, port 53)."""

    async def serve(
        self,
        key: str,
        addresses: Sequence[str],
        answer: Callable[[str, NameQuestion], NameAnswer],
    ) -> None:
        """Answer there. Idempotent under the same key.

        Args:
            answer: never waits; told the asker's address and the question.

        Raises:
            Unavailable: port 53 of an address cannot be had; nothing is served then.
        """
        ...

    async def serve_inside(
        self, key: str, netns: Path, answer: Callable[[str, NameQuestion], NameAnswer]
    ) -> tuple[int, int]:
        """Answer on 127.0.0.11 in a container's own network namespace: its ports of UDP and TCP. For networks
        on which the host has no address. A server of that key which is there is replaced; ``answer`` is told
        the key for an address.

        Raises:
            Unavailable: the namespace is gone, or has no loopback.
        """
        ...

    def serves(self, key: str) -> bool: ...

    async def stop(self, key: str) -> None:
        """Idempotent."""
        ...
