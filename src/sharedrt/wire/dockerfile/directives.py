"""Parser directives: ``# name=value`` comments before everything else (Dockerfile reference, "Parser directives")."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sharedrt.wire.dockerfile.errors import DockerfileError, SyntaxFault, quoted

_DIRECTIVE: Final = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.*)")
"""For a line without white space at its end."""
_KNOWN: Final = frozenset({"syntax", "escape", "check"})
_ESCAPES: Final = ("\\", "`")
_FRONTENDS: Final = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?"
)
"""Images whose language is the one that is built in here."""


@dataclass(frozen=True, slots=True)
class Directives:
    """``escape`` is the character that continues lines and escapes others."""

    escape: str = "\\"
    syntax: str = ""
    check: str = ""


def parse_directives(lines: Sequence[str]) -> Directives:
    """Those at the top of the file. A comment of any other shape ends them.

    Raises:
        DockerfileError: given twice, an impossible escape character, or the frontend of another language.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if number == 1 and line.startswith("#!"):
            continue
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None or match[1].lower() not in _KNOWN:
            break
        name, value = match[1].lower(), match[2]
        if name in found:
            raise SyntaxFault(f"only one {name} parser directive can be used", number)
        if name == "escape" and value not in _ESCAPES:
            raise SyntaxFault(f"invalid escape token '{value}' does not match ` or \\", number)
        if name == "syntax" and not _FRONTENDS.fullmatch(value):
            raise DockerfileError(
                f"the Dockerfile frontend {quoted(value)} is not supported: this builder knows "
                "docker/dockerfile alone",
                number,
            )
        found[name] = value
    return Directives(**found)
