"""Names and ids as the kubelet and crictl use them."""

from sharedrt.edges.cri.extension import config_of
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import ContainerRecord, SandboxRecord
from sharedrt.pb.runtime.v1 import ContainerConfig, ContainerMetadata, PodSandboxMetadata


def container_name(metadata: ContainerMetadata, sandbox: SandboxRecord) -> str:
    """The name that makes a container unique in the namespace: the kubelet makes one container for each
    (name, pod, attempt), and names of this form cannot be taken twice."""
    parts = (metadata.name, sandbox.name, sandbox.pod_namespace, sandbox.uid, str(metadata.attempt))
    return "_".join(parts)


def container_title(record: ContainerRecord) -> str:
    """The container's name inside of its pod."""
    config = config_of(ContainerConfig, record.extensions)
    return config.metadata.name


def checked_container_metadata(metadata: ContainerMetadata | None) -> ContainerMetadata:
    """Raises InvalidArgument without a name."""
    if metadata is None or not metadata.name:
        raise InvalidArgument("config.metadata.name", "", "must not be empty")
    return metadata


def checked_sandbox_metadata(metadata: PodSandboxMetadata | None) -> PodSandboxMetadata:
    """Raises InvalidArgument without a name."""
    if metadata is None or not metadata.name:
        raise InvalidArgument("config.metadata.name", "", "must not be empty")
    return metadata


def checked_id(field: str, value: str) -> str:
    """Raises InvalidArgument when it is empty: an empty prefix would fit every id."""
    if not value:
        raise InvalidArgument(field, value, "must not be empty")
    return value
