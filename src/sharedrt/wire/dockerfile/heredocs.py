"""Here-documents: ``<<EOF``, ``<<-EOF``, ``<<"EOF"`` (Dockerfile reference, "Here-Documents")."""

import re
from dataclasses import dataclass, replace
from typing import Final

from sharedrt.wire.dockerfile.errors import DockerfileError
from sharedrt.wire.dockerfile.expand import Expander

_HEREDOC: Final = re.compile(r"(\d*)<<(-?)([^<]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """``expand``: variables in the content are substituted. ``chomp``: leading tabs are taken off."""

    name: str
    expand: bool
    chomp: bool
    descriptor: int = 0
    content: str = ""

    def with_content(self, content: str) -> "Heredoc":
        return replace(self, content=content)

    @property
    def chomped(self) -> str:
        """The content as the consumer gets it."""
        if not self.chomp:
            return self.content
        return "".join(line.lstrip("\t") for line in self.content.splitlines(keepends=True))


def parse_heredoc(word: str, escape: str = "\\") -> Heredoc | None:
    """A word, its quotes still on, as the start of a here-document; ``None`` for any other word."""
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    unset: dict[str, str] = {}
    try:
        plain = Expander(escape, skip_unset=True).words(match[3], unset)
        quoted = Expander(escape, skip_unset=True, raw_quotes=True).words(match[3], unset)
    except DockerfileError:
        return None
    if len(plain) != 1 or not plain[0]:
        return None
    return Heredoc(plain[0], plain == quoted, bool(match[2]), int(match[1] or 0))


def heredocs_in(line: str, escape: str = "\\") -> list[Heredoc]:
    """All that a line begins, in order. Raises DockerfileError for unbalanced quotes."""
    lexer = Expander(escape, skip_unset=True, raw_quotes=True, raw_escapes=True)
    try:
        words = lexer.words(line, {})
    except DockerfileError:
        return []  # a shell's own syntax: the shell will say what is wrong with it
    found = (parse_heredoc(word, escape) for word in words)
    return [heredoc for heredoc in found if heredoc is not None]
