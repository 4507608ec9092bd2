"""``.dockerignore``: patterns, and which paths of a context they leave out.

Spec: Dockerfile reference, ".dockerignore file": Go's ``filepath.Match`` with ``**`` for any number of folders, ``!``
for exceptions, the last pattern that fits wins; what fits a pattern takes all below it along.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sharedrt.model.faults import InvalidArgument

MAX_PATTERNS: Final = 10_000
_SPECIAL: Final = frozenset("*?[]\\")


@dataclass(frozen=True, slots=True)
class Pattern:
    """``keeps``: an exception (``!``)."""

    text: str
    keeps: bool
    expression: re.Pattern[str]


class IgnoreRules:
    """Paths are relative, with ``/`` between their parts and none at either end."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self.has_exceptions = any(pattern.keeps for pattern in patterns)

    def ignores(self, path: str) -> bool:
        """Whether the path is left out, by itself or with a folder above it."""
        ignored = False
        prefixes: list[str] | None = None
        for pattern in self.patterns:
            if pattern.keeps != ignored:
                continue  # it would change nothing
            if prefixes is None:
                prefixes = _prefixes(path)
            if any(pattern.expression.fullmatch(prefix) for prefix in prefixes):
                ignored = not pattern.keeps
        return ignored

    def prunes(self, folder: str) -> bool:
        """Whether nothing below an ignored folder can be kept, so that it need not be looked into."""
        if not self.ignores(folder):
            return False
        return not self.has_exceptions


def read_dockerignore(data: bytes) -> IgnoreRules:
    """A whole file. Raises InvalidArgument for a malformed pattern."""
    lines = data.decode("utf-8-sig", "surrogateescape").splitlines()
    return parse_patterns(line.strip() for line in lines if not line.startswith("#"))


def parse_patterns(texts: Iterable[str]) -> IgnoreRules:
    """Patterns, one each; empty ones and the root itself are passed over. Raises InvalidArgument."""
    patterns = []
    for text in texts:
        keeps = text.startswith("!")
        bare = _clean(text[1:].strip() if keeps else text.strip())
        if keeps and not text[1:].strip():
            raise InvalidArgument("pattern", text, "illegal exclusion pattern")
        if not bare:
            continue
        patterns.append(Pattern(bare, keeps, compile_pattern(bare)))
        if len(patterns) > MAX_PATTERNS:
            raise InvalidArgument("patterns", len(patterns), f"more than {MAX_PATTERNS}")
    return IgnoreRules(patterns)


def compile_pattern(text: str) -> re.Pattern[str]:
    """One pattern as a regular expression for whole paths. Raises InvalidArgument."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*":
            if text[at : at + 1] != "*":
                parts.append("[^/]*")
                continue
            at += 1
            folders = text[at : at + 1] == "/"
            at += folders
            # With wildcards behind it, ``**x`` is ``**/x``; else it is any ending ``x``. So it is in dockerd.
            plain = at == 2 and not folders and not _SPECIAL.intersection(text[at:])
            if at == len(text) or plain:
                parts.append(".*")
            elif parts[-1:] != ["(?:.*/)?"]:
                parts.append("(?:.*/)?")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            group, at = _character_class(text, at)
            parts.append(group)
        elif character == "\\":
            if at >= len(text):
                raise InvalidArgument("pattern", text, "syntax error in pattern")
            parts.append(re.escape(text[at]))
            at += 1
        else:
            parts.append(re.escape(character))
    return re.compile("".join(parts), re.DOTALL)


def _character_class(text: str, at: int) -> tuple[str, int]:
    """``[a-z]``, ``[^a-z]``: the expression, and where it ends."""
    negated = text[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while text[at : at + 1] != "]" or not ranges:
        low, at = _class_character(text, at)
        high = low
        if text[at : at + 1] == "-":
            high, at = _class_character(text, at + 1)
        if low > high:
            ranges.append("")  # Go's range that holds nothing
        else:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    inside = "".join(ranges)
    if not inside:
        return ("[^/]" if negated else "(?!)"), at + 1
    return (f"(?!/)[^{inside}]" if negated else f"(?!/)[{inside}]"), at + 1


def _class_character(text: str, at: int) -> tuple[str, int]:
    character = text[at : at + 1]
    if not character or character in "-]":
        raise InvalidArgument("pattern", text, "syntax error in pattern")
    if character == "\\":
        at += 1
        character = text[at : at + 1]
        if not character:
            raise InvalidArgument("pattern", text, "syntax error in pattern")
    return character, at + 1


def _clean(text: str) -> str:
    """Without a leading slash, ``.`` and ``..``, as Go's ``filepath.Clean`` and dockerd make it."""
    kept: list[str] = []
    for part in text.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if kept and kept[-1] != "..":
                kept.pop()
            elif not text.startswith("/"):
                kept.append(part)
            continue
        kept.append(part)
    return "/".join(kept)


def _prefixes(path: str) -> list[str]:
    """The path and every folder above it."""
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
