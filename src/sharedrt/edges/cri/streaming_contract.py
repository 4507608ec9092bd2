"""What this door needs of the streaming server, which is a door of its own."""

from collections.abc import Sequence
from typing import Protocol

from sharedrt.model.ids import ContainerId, SandboxId
from sharedrt.services.contracts import NamespacedRuntime


class Streaming(Protocol):
    """Makes addresses. URLs are good for one use, within a minute.

    Raises:
        ResourceExhausted: too many URLs wait for their clients. FailedPrecondition: it does not run.
    """

    def exec(
        self,
        services: NamespacedRuntime,
        container: ContainerId,
        args: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> str: ...

    def attach(
        self,
        services: NamespacedRuntime,
        container: ContainerId,
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> str: ...

    def port_forward(
        self, services: NamespacedRuntime, sandbox: SandboxId, ports: Sequence[int]
    ) -> str: ...
