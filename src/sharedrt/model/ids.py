"""Identifiers as types: an id of one kind cannot be passed where another is asked.

Each has one function that makes it from text and refuses what is not safe as a path part.
"""

import re
import secrets
from typing import Final, NamedTuple, NewType

from sharedrt.model.faults import InvalidArgument

Namespace = NewType("Namespace", str)
"""A tenant of the node: ``k8s.io``, ``moby``, ... Made only by :func:`parse_namespace`."""

ContainerId = NewType("ContainerId", str)
SandboxId = NewType("SandboxId", str)
ExecId = NewType("ExecId", str)
NetworkId = NewType("NetworkId", str)
EndpointId = NewType("EndpointId", str)
OperationId = NewType("OperationId", str)
VolumeName = NewType("VolumeName", str)
LeaseId = NewType("LeaseId", str)

Digest = NewType("Digest", str)
"""``sha256:`` and 64 hex digits (or sha512 and 128). Made only by :func:`parse_digest`."""

SnapshotKey = NewType("SnapshotKey", str)
"""Key of a snapshot inside its namespace: a chain id for committed layers, a container id for active ones."""


class ContainerKey(NamedTuple):
    """A container as the host knows it: what its folders, cgroup and conmon are named after."""

    namespace: Namespace
    id: ContainerId


K8S_NAMESPACE: Final = Namespace("k8s.io")
DOCKER_NAMESPACE: Final = Namespace("moby")

MAX_IDENTIFIER_LENGTH: Final = 76
_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def parse_namespace(text: str) -> Namespace:
    """Check a namespace's name as containerd does: at most 76 characters, safe as a path part.

    Raises:
        InvalidArgument: empty, too long, or with characters outside ``[A-Za-z0-9._-]``.
    """
    _check_identifier("namespace", text)
    return Namespace(text)


def parse_digest(text: str) -> Digest:
    """Check a content digest (OCI image spec, "Digests").

    Raises:
        InvalidArgument: another algorithm than sha256 or sha512, or a malformed encoding.
    """
    if not _DIGEST.fullmatch(text):
        raise InvalidArgument("digest", text, "not sha256:<64 hex> or sha512:<128 hex>")
    return Digest(text)


def _check_identifier(field: str, text: str) -> None:
    if not text:
        raise InvalidArgument(field, text, "must not be empty")
    if len(text) > MAX_IDENTIFIER_LENGTH:
        raise InvalidArgument(field, text, f"longer than {MAX_IDENTIFIER_LENGTH} characters")
    if not _IDENTIFIER.fullmatch(text):
        raise InvalidArgument(field, text, "must match [A-Za-z0-9]+([._-][A-Za-z0-9]+)*")


def new_id() -> str:
    """A new random id, 64 lower-case hex digits, as containerd and Docker make them.

    Never all digits in its first 12 characters, since a short id of digits only reads as a number
    to some clients (Docker does the same).
    """
    while True:
        token = secrets.token_hex(32)
        if not token[:12].isdecimal():
            return token
