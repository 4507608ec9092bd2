"""The CRI door, opened."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sharedrt.edges._grpc import GrpcServer
from sharedrt.edges.cri.context import CriContext
from sharedrt.edges.cri.images import ImageService
from sharedrt.edges.cri.service import RuntimeService
from sharedrt.edges.cri.streaming_contract import Streaming
from sharedrt.services.contracts import Runtime


class CriDoor:
    """runtime.v1's two services, for namespace ``k8s.io``.

    Args:
        streaming: the server of exec, attach and port-forward.
        pinned_images: shell patterns of names; see :class:`sharedrt.edges.cri.pins.Pins`.
    """

    def __init__(
        self, runtime: Runtime, streaming: Streaming, pinned_images: Sequence[str] = ()
    ) -> None:
        self._context = CriContext(runtime, streaming, pinned_images)

    @asynccontextmanager
    async def listening(self, socket: Path) -> AsyncIterator[None]:
        """Serve until the block ends.

        Raises:
            FailedPrecondition: another daemon listens there, or the path cannot be bound.
        """
        server = GrpcServer(
            (RuntimeService(self._context), ImageService(self._context)), describe=describe
        )
        try:
            async with server.listening(socket):
                yield
        finally:
            await self._context.owner.aclose()


def describe(request: Any) -> Mapping[str, str]:
    """The objects that a request is about, for the log: ids and names, never credentials or contents."""
    out: dict[str, str] = {}
    for field, word in (("container_id", "container"), ("pod_sandbox_id", "sandbox")):
        if value := getattr(request, field, ""):
            out[word] = value
    if image := getattr(request, "image", None):
        out["image"] = image.image
    if config := getattr(request, "config", None):
        metadata = config.metadata
        pod = getattr(metadata, "namespace", "")
        out["name"] = f"{pod}/{metadata.name}" if pod else metadata.name
    return out
