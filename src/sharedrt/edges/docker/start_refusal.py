"""Why a container does not start, in dockerd's words and statuses: the client is told, and ``inspect`` shows it."""

from typing import cast

from sharedrt.edges.docker.words import Refusal, start_failed, to_http
from sharedrt.model.faults import (
    AnyFault,
    FailedPrecondition,
    Fault,
    InvalidArgument,
    NotFound,
    StartFailed,
)
from sharedrt.model.records import ContainerRecord


def start_refusal(record: ContainerRecord, fault: Fault) -> Refusal:
    """What shows only at the start (a device, a user of the image) is the engine's trouble, not the request's: 500."""
    match fault:
        case StartFailed():
            return Refusal(*start_failed(fault))
        case FailedPrecondition(kind="container", reason="is not running"):
            return _not_running(record, fault)
        case InvalidArgument(field="block device", value=value, reason=reason):
            return Refusal(500, f"stat {value}: {reason.lower()}")
        case InvalidArgument(field="mount sub path", reason=reason):
            # Mounts come before all that is the engine's trouble.
            return Refusal(404 if reason.startswith("cannot access") else 400, to_http(fault)[1])
        case InvalidArgument() | NotFound(kind="user") | NotFound(kind="group"):
            return Refusal(500, to_http(fault)[1])
    return Refusal(*to_http(cast(AnyFault, fault)))


def _not_running(record: ContainerRecord, fault: FailedPrecondition) -> Refusal:
    """A container that it shares a namespace with does not run."""
    spec = record.spec.namespaces
    text = f"container {fault.name} is not running"
    if fault.name == spec.pid.target:
        return Refusal(500, f"failed to join PID namespace: {text}")
    if fault.name == spec.ipc.target:
        return Refusal(500, f"failed to join IPC namespace: {text}")
    if fault.name == spec.network.target:
        return Refusal(409, f"cannot join network of a non running container: {fault.name}")
    return Refusal(*to_http(fault))
