"""What a build tells while it runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from sharedrt.model.ids import Digest
from sharedrt.services.images import PullProgress


@dataclass(frozen=True, slots=True)
class BuildText:
    """Lines for the client's terminal, with their ends."""

    text: str


def red(text: str) -> str:
    """As dockerd's classic builder shows standard error."""
    return f"\x1b[91m{text}\x1b[0m"


@dataclass(frozen=True, slots=True)
class PullStep:
    """Progress of a base image's pull. ``reference``: full."""

    reference: str
    progress: PullProgress


@dataclass(frozen=True, slots=True)
class ImageBuilt:
    """A stage is done; the last one told of is the build's image."""

    id: Digest


BuildEvent: TypeAlias = BuildText | PullStep | ImageBuilt
Tell: TypeAlias = Callable[[BuildEvent], Awaitable[None]]
"""Waits when the client is slow, and the build with it."""
