"""Sandboxes on the way out."""

from collections.abc import Sequence
from typing import Final

from sharedrt.edges.cri.extension import config_of
from sharedrt.model.records import SandboxRecord, SandboxState
from sharedrt.pb.codec import present
from sharedrt.pb.runtime.v1 import (
    LinuxPodSandboxStatus,
    Namespace,
    PodIp,
    PodSandbox,
    PodSandboxAttributes,
    PodSandboxConfig,
    PodSandboxMetadata,
    PodSandboxNetworkStatus,
    PodSandboxState,
    PodSandboxStatus,
)

STATES: Final = {
    SandboxState.READY: PodSandboxState.SANDBOX_READY,
    SandboxState.NOT_READY: PodSandboxState.SANDBOX_NOTREADY,
}


def metadata(record: SandboxRecord) -> PodSandboxMetadata:
    return PodSandboxMetadata(
        name=record.name,
        uid=record.uid,
        namespace=record.pod_namespace,
        attempt=record.attempt,
    )


def item(record: SandboxRecord) -> PodSandbox:
    """As ListPodSandbox shows it."""
    return PodSandbox(
        id=record.id,
        metadata=metadata(record),
        state=STATES[record.state],
        created_at=record.created_ns,
        labels=dict(record.labels),
        annotations=dict(record.annotations),
        runtime_handler=record.runtime_handler,
    )


def attributes(record: SandboxRecord) -> PodSandboxAttributes:
    """As stats show it."""
    return PodSandboxAttributes(
        id=record.id,
        metadata=metadata(record),
        labels=dict(record.labels),
        annotations=dict(record.annotations),
    )


def status(record: SandboxRecord) -> PodSandboxStatus:
    """As PodSandboxStatus and events show it."""
    config = config_of(PodSandboxConfig, record.extensions)
    options = config.linux.security_context.namespace_options
    return PodSandboxStatus(
        id=record.id,
        metadata=metadata(record),
        state=STATES[record.state],
        created_at=record.created_ns,
        network=_network(record),
        linux=LinuxPodSandboxStatus(namespaces=Namespace(options=present(options))),
        labels=dict(record.labels),
        annotations=dict(record.annotations),
        runtime_handler=record.runtime_handler,
    )


def _network(record: SandboxRecord) -> PodSandboxNetworkStatus:
    """Present but empty on the host's network: the kubelet then takes the node's addresses."""
    addresses: Sequence[str] = record.addresses if record.state is SandboxState.READY else ()
    if not addresses:
        return present(PodSandboxNetworkStatus())
    return PodSandboxNetworkStatus(
        ip=addresses[0], additional_ips=[PodIp(ip=address) for address in addresses[1:]]
    )
