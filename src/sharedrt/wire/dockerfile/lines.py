"""Physical lines to logical ones: continuations joined, comments dropped, here-documents taken along."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sharedrt.wire.dockerfile.directives import Directives, parse_directives
from sharedrt.wire.dockerfile.errors import SyntaxFault
from sharedrt.wire.dockerfile.heredocs import Heredoc, heredocs_in

MAX_BYTES: Final = 4 << 20
MAX_LINES: Final = 100_000
_WITH_HEREDOCS: Final = frozenset({"ADD", "COPY", "RUN"})


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """``number``: of its first physical line, from 1. ``text`` has no line breaks but those in ``heredocs``."""

    number: int
    text: str
    heredocs: tuple[Heredoc, ...] = field(default=())
    gap: bool = False
    """An empty line stands within it, after a continuation."""


def read_lines(data: bytes) -> tuple[Directives, list[LogicalLine]]:
    """The whole file.

    Raises:
        SyntaxFault: too long, no text, a bad directive, or a here-document without its end.
    """
    if len(data) > MAX_BYTES:
        raise SyntaxFault(f"longer than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SyntaxFault(f"not valid UTF-8: {error.reason}") from error
    physical = text.split("\n")
    if len(physical) > MAX_LINES:
        raise SyntaxFault(f"more than {MAX_LINES} lines")
    physical = [line.removesuffix("\r") for line in physical]
    if "\0" in text:
        raise SyntaxFault("a NUL character", text[: text.index("\0")].count("\n") + 1)
    directives = parse_directives(physical)
    return directives, list(_join(physical, directives.escape))


def _join(physical: Sequence[str], escape: str) -> Iterator[LogicalLine]:
    continued = _continuation(escape)
    at = 0
    while at < len(physical):
        start = at
        line = physical[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        text, more = _trim(line, continued)
        parts = [text]
        gap = False
        while more and at < len(physical):
            line = physical[at].rstrip()
            at += 1
            if not line.strip() or line.lstrip().startswith("#"):
                gap |= not line.strip() and any(rest.strip() for rest in physical[at:])
                continue  # neither ends a continuation, as in dockerd
            text, more = _trim(line, continued)
            parts.append(text)
        joined = "".join(parts)
        if not joined.strip():
            continue
        heredocs: tuple[Heredoc, ...] = ()
        if "<<" in joined and _may_have_heredocs(joined):
            heredocs, at = _take_heredocs(joined, physical, at, start + 1, escape)
        yield LogicalLine(start + 1, joined.strip(), heredocs, gap)


def _continuation(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    return re.compile(rf"(?:(?<=[^{mark}])|^){mark}[ \t]*$")


def _trim(line: str, continued: re.Pattern[str]) -> tuple[str, bool]:
    found = continued.search(line)
    return (line, False) if found is None else (line[: found.start()], True)


def _may_have_heredocs(line: str) -> bool:
    word, _, rest = line.strip().partition(" ")
    if word.upper() == "ONBUILD":
        word, _, rest = rest.strip().partition(" ")
    return word.upper() in _WITH_HEREDOCS and not _first_argument(rest).startswith("[")


def _first_argument(rest: str) -> str:
    """Behind the flags."""
    return next((word for word in rest.split() if not word.startswith("--")), "")


def _take_heredocs(
    line: str, physical: Sequence[str], at: int, number: int, escape: str
) -> tuple[tuple[Heredoc, ...], int]:
    taken = []
    for heredoc in heredocs_in(line, escape):
        body = []
        while True:
            if at >= len(physical):
                raise SyntaxFault("unterminated heredoc", number)
            text = physical[at]
            at += 1
            if (text.lstrip("\t") if heredoc.chomp else text) == heredoc.name:
                break
            body.append(text + "\n")
        taken.append(heredoc.with_content("".join(body)))
    return tuple(taken), at
