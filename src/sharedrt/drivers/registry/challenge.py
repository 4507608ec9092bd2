"""WWW-Authenticate headers (RFC 9110, section 11.6.1): text in, challenges out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"\s*({_TOKEN})(?=\s|,|$)")
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)')
_COMMA = re.compile(r"\s*,")


@dataclass(frozen=True, slots=True)
class Challenge:
    """``scheme`` and parameter names are lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """All challenges of all header lines; what cannot be read ends its line's list, as browsers do it."""
    found = []
    for header in headers:
        position = 0
        while match := _SCHEME.match(header, position):
            position = match.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                name, quoted, plain = parameter.groups()
                value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters[name.lower()] = value
                position = parameter.end()
            found.append(Challenge(match[1].lower(), parameters))
            if comma := _COMMA.match(header, position):
                position = comma.end()
    return found
