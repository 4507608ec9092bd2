"""The CRI door, opened."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sharedrt.edges._grpc import GrpcServer
from sharedrt.edges.cri.door import Door
from sharedrt.edges.cri.images import ImageService
from sharedrt.edges.cri.service import RuntimeService
from sharedrt.services.contracts import Runtime


@asynccontextmanager
async def serve_cri(runtime: Runtime, socket: Path) -> AsyncIterator[None]:
    """Serve runtime.v1 at ``socket``, for namespace ``k8s.io``, until the block ends.

    Raises:
        FailedPrecondition: another daemon listens there, or the path cannot be bound.
    """
    door = Door(runtime)
    server = GrpcServer([RuntimeService(door), ImageService(door)], describe=describe)
    try:
        async with server.listening(socket):
            yield
    finally:
        await door.owner.aclose()


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
