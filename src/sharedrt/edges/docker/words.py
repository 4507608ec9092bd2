"""Faults in Docker's words: one status and one message for each, and no fault forgotten.

Routes whose words depend on what was asked (removing a running container, pulling from a registry that
says no) catch a fault and raise :class:`Refusal` with their own.
"""

import json
from typing import assert_never

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


class Refusal(Exception):
    """An answer in Docker's shape that a handler has worded itself."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def bad_request(message: str) -> Refusal:
    return Refusal(400, message)


def bad_reference(fault: InvalidArgument) -> Refusal:
    """A name or a tag that can be none."""
    if fault.field == "tag":
        return bad_request("invalid tag format")
    return bad_request(f"invalid reference format: {fault.reason}")


def quoted(text: str) -> str:
    """As Go's ``%q`` writes it."""
    return json.dumps(text, ensure_ascii=False)


def not_implemented(feature: str) -> Refusal:
    """A feature of the API that this daemon does not have, refused by name."""
    return Refusal(501, f"{feature} is not supported by this daemon")


def port_in_use(fault: InUse) -> str:
    """Dockerd tells ports that a container has from those of other programs."""
    if fault.reason == "address already in use":
        return f"failed to bind host port for {fault.name}: address already in use"
    return f"Bind for {fault.name} failed: port is already allocated"


def to_http(fault: AnyFault) -> tuple[int, str]:
    """Status and message. 304 has no message."""
    match fault:
        case NotFound():
            return _not_found(fault)
        case Ambiguous(name=name):
            return 400, f"multiple IDs found with provided prefix: {name}"
        case AlreadyExists():
            return 409, _already_exists(fault)
        case AlreadyDone(kind=kind, name=name, state=state):
            return 409, f"{kind.capitalize()} {name} is already {state}"
        case InUse(kind="port"):
            return 500, f"failed to set up container networking: {port_in_use(fault)}"
        case InUse(reason=reason):
            return 409, reason or str(fault)
        case FailedPrecondition(kind="container", name=name, reason=reason):
            joint = " " if reason.startswith("is ") else ": "
            return 409, reason if name and name in reason else f"container {name}{joint}{reason}"
        case FailedPrecondition(kind="program"):
            return 500, str(fault)
        case FailedPrecondition():
            return 409, str(fault)
        case InvalidArgument(field="signal", value=value):
            return 400, f"invalid signal: {value}"
        case InvalidArgument(field="device", value=value, reason=reason):
            return 400, (
                f'error gathering device information while adding custom device "{value}": {reason}'
            )
        case InvalidArgument():
            return 400, str(fault)
        case Unimplemented():
            return 501, str(fault)
        case StartFailed():
            return start_failed(fault)
        case PermissionDenied():
            return 403, str(fault)
        case Unauthenticated():
            return 401, str(fault)
        case Unavailable():
            return 500, str(fault)
        case DeadlineExceeded():
            return 504, str(fault)
        case ResourceExhausted() | DataLoss() | Internal():
            return 500, str(fault)
        case _:
            assert_never(fault)


def _not_found(fault: NotFound) -> tuple[int, str]:
    match fault.kind:
        case "container":
            return 404, f"No such container: {fault.name}"
        case "image":
            return 404, f"No such image: {fault.name}"
        case "exec":
            return 404, f"No such exec instance: {fault.name}"
        case "network":
            return 404, f"network {fault.name} not found"
        case "volume":
            return 404, f"get {fault.name}: no such volume"
        case "runtime handler":
            return 400, f"unknown or invalid runtime name: {fault.name}"
        case "CDI device":
            return 500, f"CDI device injection failed: unresolvable CDI devices {fault.name}"
        case "user":
            return 400, f"unable to find user {fault.name}: no matching entries in passwd file"
        case "group":
            return 400, f"unable to find group {fault.name}: no matching entries in group file"
        case _:
            return 404, str(fault)


def _already_exists(fault: AlreadyExists) -> str:
    match fault.kind:
        case "container":
            return (
                f'Conflict. The container name "/{fault.name}" is already in use by container '
                f'"{fault.holder}". You have to remove (or rename) that container to be able to '
                "reuse that name."
            )
        case "network":
            return f"network with name {fault.name} already exists"
        case _:
            return str(fault)


_NOT_FOUND_WORDS = ("executable file not found", "no such file or directory")
_NOT_EXECUTABLE_WORDS = ("permission denied", "is a directory")


def start_failed(fault: StartFailed, *, of: str = "create") -> tuple[int, str]:
    """A process that could not be started.

    The docker CLI tells 127 and 126 from the message alone (cli/command/container/run.go, toStatusError), so the
    words that it looks for must be there whichever runtime complained.

    Args:
        of: ``create`` for a container, ``exec``.
    """
    reason = fault.reason.strip()
    lowered = reason.lower()
    if fault.exit_code == 127 and not any(words in reason for words in _NOT_FOUND_WORDS):
        known = "no such file or directory" in lowered and "$path" not in lowered
        reason += ": no such file or directory" if known else ": executable file not found in $PATH"
    if fault.exit_code == 126 and not any(words in reason for words in _NOT_EXECUTABLE_WORDS):
        reason += ": permission denied"
    if of == "exec":
        message = f"OCI runtime exec failed: exec failed: {reason}: unknown"
    else:
        message = (
            "failed to create task for container: failed to create shim task: "
            f"OCI runtime create failed: {reason}: unknown"
        )
    return (400 if fault.exit_code in (126, 127) else 500), message
