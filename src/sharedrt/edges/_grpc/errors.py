"""Faults as gRPC statuses (google.rpc.Code; containerd's errdefs maps its own classes the same way)."""

from typing import assert_never

from grpclib import GRPCError, Status

from sharedrt.model.faults import (
    AlreadyDone,
    AlreadyExists,
    Ambiguous,
    AnyFault,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InUse,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StartFailed,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

_COMMAND_NOT_RUNNABLE = (126, 127)


def to_grpc(fault: AnyFault) -> GRPCError:
    """The status and one line for the client."""
    return GRPCError(status_of(fault), one_line(str(fault)))


def one_line(text: str) -> str:
    """grpc-message is a header: line ends of a plugin's or registry's own words become spaces."""
    return " ".join(text.split())


def status_of(fault: AnyFault) -> Status:
    match fault:
        case NotFound():
            return Status.NOT_FOUND
        case InvalidArgument() | Ambiguous():
            return Status.INVALID_ARGUMENT
        case AlreadyExists():
            return Status.ALREADY_EXISTS
        case AlreadyDone() | InUse() | FailedPrecondition():
            return Status.FAILED_PRECONDITION
        case Unimplemented():
            return Status.UNIMPLEMENTED
        case Unavailable():
            return Status.UNAVAILABLE
        case PermissionDenied():
            return Status.PERMISSION_DENIED
        case Unauthenticated():
            return Status.UNAUTHENTICATED
        case ResourceExhausted():
            return Status.RESOURCE_EXHAUSTED
        case DeadlineExceeded():
            return Status.DEADLINE_EXCEEDED
        case DataLoss():
            return Status.DATA_LOSS
        case StartFailed(exit_code=code):
            if code in _COMMAND_NOT_RUNNABLE:
                return Status.INVALID_ARGUMENT
            return Status.INTERNAL
        case Internal():
            return Status.INTERNAL
        case _:
            assert_never(fault)
