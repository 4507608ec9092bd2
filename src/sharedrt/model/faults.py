"""One vocabulary of errors, named for what the client should do; each edge maps it once.

Facts are fields, not sentences: an edge writes its own protocol's words. The classes are final, so
an edge's ``match`` over :data:`AnyFault` ends in ``assert_never`` and mypy finds an unmapped one.
"""

from collections.abc import Callable
from typing import final


class Fault(Exception):
    """Base of all faults. ``str()`` gives one line fit for a log and for a client."""


FailureWords = Callable[[Fault], str]
"""What somebody is told of a fault; ``str`` for one who has no words of their own."""


@final
class InvalidArgument(Fault):
    """The request itself is wrong; repeating it cannot help."""

    def __init__(self, field: str, value: object, reason: str) -> None:
        super().__init__(f"invalid {field} {value!r}: {reason}")
        self.field, self.value, self.reason = field, value, reason


@final
class NotFound(Fault):
    """Nothing of that kind and name is in this namespace (whether or not another namespace has it)."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} not found")
        self.kind, self.name = kind, name


@final
class Ambiguous(Fault):
    """A short id fits more than one object."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} is ambiguous: more than one fits")
        self.kind, self.name = kind, name


@final
class AlreadyExists(Fault):
    """The name or id is taken; ``holder`` is the id of what holds it, if there is one."""

    def __init__(self, kind: str, name: str, holder: str = "") -> None:
        super().__init__(f"{kind} {name!r} already exists" + (f" ({holder})" if holder else ""))
        self.kind, self.name, self.holder = kind, name, holder


@final
class AlreadyDone(Fault):
    """The object is already in the state asked for (Docker answers 304 Not Modified)."""

    def __init__(self, kind: str, name: str, state: str) -> None:
        super().__init__(f"{kind} {name!r} is already {state}")
        self.kind, self.name, self.state = kind, name, state


@final
class InUse(Fault):
    """Something else needs the object; ``users`` names what does."""

    def __init__(self, kind: str, name: str, users: tuple[str, ...], reason: str = "") -> None:
        super().__init__(reason or f"{kind} {name!r} is in use by {', '.join(users)}")
        self.kind, self.name, self.users, self.reason = kind, name, users, reason


@final
class FailedPrecondition(Fault):
    """The object's state does not allow the call; another call must come first."""

    def __init__(self, kind: str, name: str, reason: str) -> None:
        super().__init__(f"{kind} {name!r}: {reason}" if name else f"{kind}: {reason}")
        self.kind, self.name, self.reason = kind, name, reason


@final
class Unimplemented(Fault):
    """A feature that this daemon does not have, refused by name."""

    def __init__(self, feature: str) -> None:
        super().__init__(f"{feature} is not supported")
        self.feature = feature


@final
class Unavailable(Fault):
    """Something outside (a registry, say) cannot be reached or answers nonsense; a retry may help."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.reason = what, reason


@final
class PermissionDenied(Fault):
    """A policy, a registry or the kernel forbids it."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.reason = what, reason


@final
class Unauthenticated(Fault):
    """Credentials are missing or wrong."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.reason = what, reason


@final
class ResourceExhausted(Fault):
    """Disk, memory, addresses, ports, a quota or a bound is used up."""

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"{resource}: {reason}")
        self.resource, self.reason = resource, reason


@final
class DeadlineExceeded(Fault):
    """The call's own time ran out; what it started has been stopped."""

    def __init__(self, what: str, timeout_s: float) -> None:
        super().__init__(f"{what}: timed out after {timeout_s:g} s")
        self.what, self.timeout_s = what, timeout_s


@final
class DataLoss(Fault):
    """Bytes are not what their digest or length says."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.reason = what, reason


@final
class StartFailed(Fault):
    """The OCI runtime could not start the process.

    ``exit_code`` is what Docker users expect: 127 for a command that was not found, 126 for one
    that could not be run, 128 otherwise.
    """

    def __init__(self, name: str, reason: str, exit_code: int) -> None:
        super().__init__(f"cannot start {name!r}: {reason}")
        self.name, self.reason, self.exit_code = name, reason, exit_code


@final
class Internal(Fault):
    """A part of ours or of the host failed in a way the client can do nothing about."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.reason = what, reason


AnyFault = (
    InvalidArgument
    | NotFound
    | Ambiguous
    | AlreadyExists
    | AlreadyDone
    | InUse
    | FailedPrecondition
    | Unimplemented
    | Unavailable
    | PermissionDenied
    | Unauthenticated
    | ResourceExhausted
    | DeadlineExceeded
    | DataLoss
    | StartFailed
    | Internal
)
