"""What all calls of this door share."""

import asyncio
from collections.abc import Sequence

from sharedrt.aio.locks import KeyedLocks
from sharedrt.aio.tasks import TaskOwner
from sharedrt.edges.cri.cpu_rates import CpuRates
from sharedrt.edges.cri.encoded_lists import EncodedItems
from sharedrt.edges.cri.host import abilities_of
from sharedrt.edges.cri.layer_usage import LayerUsage
from sharedrt.edges.cri.pins import Pins
from sharedrt.edges.cri.process_user import ProcessUsers
from sharedrt.edges.cri.render_container import item as container_item
from sharedrt.edges.cri.render_container import status
from sharedrt.edges.cri.render_sandbox import item as sandbox_item
from sharedrt.edges.cri.streaming_contract import Streaming
from sharedrt.model.faults import NotFound
from sharedrt.model.ids import K8S_NAMESPACE
from sharedrt.model.records import ContainerRecord, SandboxRecord
from sharedrt.pb.runtime import v1 as pb
from sharedrt.services.contracts import Runtime
from sharedrt.services.images import Image

_ITEMS_FIELD = 1
"""Of ListContainersResponse.containers and ListPodSandboxResponse.items (and of their streams)."""


_MEASURED_AT_ONCE = 4


class CriContext:
    """The services of namespace ``k8s.io``, and this door's own small state."""

    def __init__(
        self, runtime: Runtime, streaming: Streaming, pinned_images: Sequence[str] = ()
    ) -> None:
        self.runtime = runtime
        self.pins = Pins(pinned_images)
        self.streaming = streaming
        self.services = runtime.within(K8S_NAMESPACE)
        self.host = abilities_of(runtime.host)
        self.owner = TaskOwner("cri")
        self.locks = KeyedLocks()
        self.users = ProcessUsers()
        self.cpu_rates = CpuRates()
        self.layer_usage = LayerUsage(self.services.containers.usage)
        self.measuring = asyncio.Semaphore(_MEASURED_AT_ONCE)
        """Reading and rendering one container's stats takes about a millisecond; all in one turn of the
        loop would make everybody else wait."""
        self.layers_mountpoint = runtime.host.state_dir
        """Any folder of the file system that holds images and layers: the kubelet asks for its device."""
        self.pod_cidr = ""
        self.container_items = EncodedItems[ContainerRecord](_ITEMS_FIELD, container_item)
        self.sandbox_items = EncodedItems[SandboxRecord](_ITEMS_FIELD, sandbox_item)

    def forget_gone(self) -> None:
        """Let go of what is kept about containers and pods that are no more."""
        containers = {str(record.id) for record in self.services.containers.list()}
        self.cpu_rates.retain(containers | {str(r.id) for r in self.services.pods.list()})
        self.layer_usage.retain(containers)

    def image_of(self, record: ContainerRecord) -> Image | None:
        """The container's image, if the namespace still has it."""
        try:
            return self.services.images.get(record.image_id)
        except NotFound:
            return None

    def container_status(self, record: ContainerRecord) -> pb.ContainerStatus:
        """The status message of a container as of now."""
        return status(record, self.image_of(record), self.users.of(record))


class RuntimePart(pb.RuntimeServiceBase):
    """A part of RuntimeService: the calls about one noun."""

    def __init__(self, context: CriContext) -> None:
        self.context = context
        self.containers = context.services.containers
        self.pods = context.services.pods
