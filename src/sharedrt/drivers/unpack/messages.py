"""What the daemon, the helper and its workers tell one another: one JSON object a packet.

Control socket, daemon to helper, with three descriptors (the job's socket, the folder, the blob or sink)::

    {"job": "apply", "max_entries": N, "max_bytes": N}
    {"job": "diff", "uid_mappings": [[container, host, size], ...], "gid_mappings": [...], "exclude": [PATH, ...],
     "newest_ns": N | null}
    {"job": "stat" | "pack" | "export" | "copy", "path": PATH, "mounts": [[source, target, readonly], ...],
     "readonly": BOOL, "uid_mappings": ..., "gid_mappings": ...}
    {"job": "extract", ..., "owner": [uid, gid] | null, "keep_types": BOOL, "root_entry": BOOL,
     "parent_owner": [uid, gid] | null, "clean_names": BOOL, "max_entries": N, "max_bytes": N}
    {"job": "survey" | "gather", ..., "sources": [PATTERN, ...],
     "exclude": [PATTERN, ...], "parents": BOOL, "probe": BOOL, "keep_owner": BOOL,
     "target": PATH, "into": BOOL, "owner": [uid, gid] | null, "chmod": TEXT}   the last four: gather's alone
    {"job": "leave out", "patterns": [PATTERN, ...], ...}
    {"job": "cat", "path": PATH, ...}

Job socket, to the daemon::

    {"type": "started"}              from the helper, with the worker's pidfd
    {"type": "consumed", "bytes": N}
    {"type": "info", "name": TEXT, "size": N, "mode": N, "mtime_ns": N, "link_target": TEXT}
    {"type": "xattr", "name": HEX, "value": HEX}   with a descriptor of the file
    {"type": "result", ...}
    {"type": "fault", "fault": CLASS, "args": [...]}
    {"type": "ended", "status": N}   from the helper: the worker is gone (a status as of wait(2))

The daemon trusts no worker: it looks only for these keys, and a fault is one of a few classes.
"""

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from sharedrt.model.faults import (
    DataLoss,
    Fault,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)

MAX_PACKET: Final = 160 << 10
"""An attribute's value is at most 64 KiB, twice that in hex."""
MAX_DESCRIPTORS: Final = 3

Message = dict[str, Any]

_FAULTS: Final = {
    cls.__name__: cls
    for cls in (DataLoss, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Internal)
}


def send(
    sock: socket.socket, message: Message, descriptors: Sequence[int] = (), flags: int = 0
) -> None:
    """Send one packet. Raises OSError (BlockingIOError when it would wait and must not)."""
    ancillary = []
    if descriptors:
        ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors)))
    sock.sendmsg([json.dumps(message).encode()], ancillary, flags | socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """The next packet and its descriptors; ``None`` when all other ends are closed.

    Raises:
        BlockingIOError: nothing there, on a non-blocking socket. ValueError: no message of ours.
    """
    space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, flags, _ = sock.recvmsg(MAX_PACKET, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
    if not data and not descriptors:
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a packet was cut")
        message = json.loads(data)
        if not isinstance(message, dict):
            raise ValueError("no object")
    except ValueError:
        close_all(list(descriptors))
        raise
    return message, list(descriptors)


def close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def encode_fault(fault: Fault) -> Message:
    """Raises KeyError for a fault that no worker may raise."""
    match fault:
        case InvalidArgument():
            args = [fault.field, str(fault.value), fault.reason]
        case DataLoss() | Internal() | PermissionDenied():
            args = [fault.what, fault.reason]
        case NotFound():
            args = [fault.kind, fault.name]
        case ResourceExhausted():
            args = [fault.resource, fault.reason]
        case _:
            raise KeyError(type(fault).__name__)
    return {"type": "fault", "fault": type(fault).__name__, "args": args}


def decode_fault(message: Message) -> Fault:
    """The fault that a worker reported; Internal for what is none."""
    try:
        fault: Fault = _FAULTS[message["fault"]](*(str(arg)[:4096] for arg in message["args"]))
    except (KeyError, TypeError) as error:
        return Internal("layer worker", f"a malformed fault ({error})")
    return fault
