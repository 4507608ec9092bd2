"""A build that went wrong in a way that its author has to know of, in dockerd's words."""


class BuildFailed(Exception):
    """``code``: the exit code of the command that failed; 0: it was no command.

    ``malformed``: the request or the Dockerfile is wrong, and nothing was begun.
    """

    def __init__(self, message: str, code: int = 0, *, malformed: bool = False) -> None:
        super().__init__(message)
        self.message, self.code, self.malformed = message, code, malformed
