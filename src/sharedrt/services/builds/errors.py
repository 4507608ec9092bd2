"""A build that went wrong in a way that its author has to know of, in dockerd's words."""

from sharedrt.model.faults import NotFound, PermissionDenied, Unauthenticated


class BuildFailed(Exception):
    """``code``: the exit code of the command that failed; 0: it was no command.

    ``malformed``: the request or the Dockerfile is wrong, and nothing was begun.
    """

    def __init__(self, message: str, code: int = 0, *, malformed: bool = False) -> None:
        super().__init__(message)
        self.message, self.code, self.malformed = message, code, malformed


class PullFailed(Exception):
    """A base image could not be had. ``reference``: full; ``fault``: what its pull raised."""

    def __init__(
        self, reference: str, fault: NotFound | Unauthenticated | PermissionDenied
    ) -> None:
        super().__init__(f"{reference}: {fault}")
        self.reference, self.fault = reference, fault
