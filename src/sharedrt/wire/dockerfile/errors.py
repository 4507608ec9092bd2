"""What is wrong with a Dockerfile, and where."""

import json


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


class SyntaxFault(DockerfileError):
    """The file cannot be cut into instructions, or has none."""

    @property
    def message(self) -> str:
        """As dockerd words it, and the line."""
        where = f" (line {self.line})" if self.line else ""
        return f"failed to parse Dockerfile: {self.reason}{where}"


def quoted(text: str) -> str:
    """In double quotes, as Go's ``%q`` has it for what people write."""
    return json.dumps(text, ensure_ascii=False)
