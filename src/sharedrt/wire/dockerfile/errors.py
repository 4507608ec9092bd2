"""What is wrong with a Dockerfile, and where."""


class DockerfileError(ValueError):
    """``line`` counts from 1; 0: not known (yet). ``str()`` is the reason alone."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line

    @property
    def message(self) -> str:
        """As dockerd words it."""
        if not self.line:
            return f"dockerfile parse error: {self.reason}"
        return f"dockerfile parse error on line {self.line}: {self.reason}"
