"""One-time tokens: each stands for one request that was allowed, for a minute."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from sharedrt.model.faults import ResourceExhausted
from sharedrt.model.ids import ContainerId, SandboxId
from sharedrt.services.contracts import NamespacedRuntime

LIFETIME_S: Final = 60.0
MAX_TOKENS: Final = 1000
_TOKEN_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Streams:
    """Which standard streams the client wants. With a terminal there is no stderr."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


@dataclass(frozen=True, slots=True)
class ExecJob:
    services: NamespacedRuntime
    container: ContainerId
    args: tuple[str, ...]
    streams: Streams


@dataclass(frozen=True, slots=True)
class AttachJob:
    services: NamespacedRuntime
    container: ContainerId
    streams: Streams


@dataclass(frozen=True, slots=True)
class PortForwardJob:
    """``ports``: the only ones allowed; empty: any."""

    services: NamespacedRuntime
    sandbox: SandboxId
    ports: tuple[int, ...]


Job: TypeAlias = ExecJob | AttachJob | PortForwardJob


class Tokens:
    """Jobs that wait for their client."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._jobs: dict[str, tuple[float, Job]] = {}

    def issue(self, job: Job) -> str:
        """Raises ResourceExhausted when too many wait."""
        self._expire()
        if len(self._jobs) >= MAX_TOKENS:
            raise ResourceExhausted("streaming", f"{MAX_TOKENS} requests wait for their clients")
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._jobs[token] = (self._now() + LIFETIME_S, job)
        return token

    def redeem(self, token: str) -> Job | None:
        """The job, once; ``None`` for a token that is unknown, used or expired."""
        self._expire()
        entry = self._jobs.pop(token, None)
        return entry[1] if entry else None

    def _expire(self) -> None:
        # Insertion order is order of expiry.
        now = self._now()
        for token, (expires, _) in list(self._jobs.items()):
            if expires > now:
                return
            del self._jobs[token]
