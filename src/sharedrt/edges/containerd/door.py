"""The services of this door, put together."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sharedrt.edges._grpc import GrpcServer
from sharedrt.edges.containerd.call import bind_metadata, calling_namespace_or_empty
from sharedrt.edges.containerd.containers import ContainersService
from sharedrt.edges.containerd.content import ContentService
from sharedrt.edges.containerd.events import EventsService
from sharedrt.edges.containerd.images import ImagesService
from sharedrt.edges.containerd.leases import LeasesService
from sharedrt.edges.containerd.namespaces import NamespacesService
from sharedrt.edges.containerd.published import PublishedEvents
from sharedrt.edges.containerd.refused import (
    DiffService,
    MountsService,
    SandboxControllerService,
    SandboxStoreService,
    StreamingService,
    TransferService,
)
from sharedrt.edges.containerd.snapshots import SnapshotsService
from sharedrt.edges.containerd.tasks import TasksService
from sharedrt.edges.containerd.version import IntrospectionService, VersionService
from sharedrt.services.contracts import Runtime

if TYPE_CHECKING:
    from grpclib._typing import IServable

_LOGGED: Final = ("name", "id", "container_id", "ref", "digest", "key", "topic")


class ContainerdDoor:
    """containerd's API on a unix socket, for root."""

    def __init__(self, runtime: Runtime) -> None:
        self._server = GrpcServer(_services(runtime), describe=_describe, listeners=[bind_metadata])

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Serve at ``path`` until the block ends. Raises FailedPrecondition when it cannot be bound."""
        async with self._server.listening(path):
            yield


def _services(runtime: Runtime) -> Sequence["IServable"]:
    published = PublishedEvents()
    return [
        VersionService(runtime.host),
        IntrospectionService(runtime.host),
        NamespacesService(runtime.all_namespaces, published),
        ContainersService(runtime),
        TasksService(runtime),
        ImagesService(runtime, published),
        ContentService(runtime),
        SnapshotsService(runtime),
        LeasesService(runtime),
        EventsService(runtime, published),
        DiffService(),
        MountsService(),
        SandboxStoreService(),
        SandboxControllerService(),
        StreamingService(),
        TransferService(),
    ]


def _describe(request: Any) -> Mapping[str, str]:
    """The namespace, and what the request names."""
    found = {"namespace": calling_namespace_or_empty()}
    for field in _LOGGED:
        if isinstance(value := getattr(request, field, None), str) and value:
            found[field] = value
    return found
